package rpc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/inference"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// maxPatience is how long a prediction takes at most, whose caller has no deadline.
const maxPatience = 30 * time.Second

// errPatience is told to callers without a deadline of their own.
var errPatience = featurestore.Errorf(featurestore.Unavailable, "there was no answer within %s, which is the most for a caller without a deadline", maxPatience)

// withPatience gives a call a deadline where its caller has none.
func withPatience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, maxPatience, errPatience)
}

// priorities are the queue's: the highest first.
var priorities = map[onehopv1.Priority]int{onehopv1.Priority_PRIORITY_LOW: -1, onehopv1.Priority_PRIORITY_HIGH: 1}

// shadowPriority comes after all callers'.
const shadowPriority = -2

// minRead is the least time that reading is given, however little the model would leave it: then the model's queue decides.
const minRead = time.Millisecond

// mostSpared is the most time that is kept for answering from copies when Redis did not answer: of less than four times as much a quarter.
const mostSpared = 20 * time.Millisecond

// budget is how long reading the features of a call may take.
type budget struct {
	limit  time.Duration
	rest   time.Duration // what the deadline has to leave the model, and answering from copies
	own    bool          // the limit is the request's own
	spares bool          // who reads must end in time, as there is something to do after it
}

// budget asks whether the model can answer in time. The deadline leaves the read what the model does not need, and the request may
// allow it less.
func (c *hopCall) budget(ctx context.Context, hop *inference.Hop, req *onehopv1.GetFeaturesAndPredictRequest) (b budget, err error) {
	deadline, _ := ctx.Deadline()
	if c.request.Admission, err = hop.Model.Admit(deadline, c.request.Candidates, c.request.Priority); err != nil {
		return b, err
	}
	left := time.Until(deadline)
	b.rest = c.request.Admission.Takes
	if b.spares = req.GetMaxStalenessMs() > 0; b.spares {
		b.rest += min(left/4, mostSpared)
	}
	b.limit = max(left-b.rest, minRead)
	if own := time.Duration(req.GetReadTimeoutMs()) * time.Millisecond; own > 0 && own < b.limit {
		b.limit, b.own = own, true
	}
	return b, nil
}

// within is the context of the read. The request's own limit counts where it waits for a connection too, as does that of who takes copies;
// that of the caller's deadline is about to do so anyway.
func (b *budget) within(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(b.limit)
	if b.own || b.spares {
		return context.WithDeadline(ctx, deadline)
	}
	return online.Until(ctx, deadline), func() {}
}

// past says that a context has ended, or is about to: a connection that has its deadline may notice that first.
func past(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// refused says that what did not happen was not tried.
func refused(err error) bool {
	known, ok := errors.AsType[*featurestore.Error](err)
	return ok && known.Code == featurestore.Exhausted
}

// late is the error of a read that did not end within the budget.
func (b *budget) late(cause error) error {
	if b.own {
		return featurestore.Errorf(featurestore.Unavailable, "the features were not read within %s, the request's read_timeout_ms", b.limit).Because(cause)
	}
	return featurestore.Errorf(featurestore.Unavailable, "the features were not read within %s, which is what the deadline leaves when the rest has its %s",
		b.limit.Round(10*time.Microsecond), b.rest.Round(10*time.Microsecond)).Because(cause)
}

// provenance is up to which events the rows of a call are folded.
func (c *hopCall) provenance(hop *inference.Hop, read *online.Read) ([]*onehopv1.Provenance, error) {
	if !read.Marked() {
		return nil, featurestore.Errorf(featurestore.Unavailable, "the watermarks of the rows could not be read; ask without provenance")
	}
	type place struct {
		view   string
		bucket int
	}
	var out []*onehopv1.Provenance
	seen := map[place]bool{}
	row := 0
	for i := range hop.Plan.Views {
		keys := &c.keys[hop.Plan.Views[i].Entity]
		for k := range hop.RowCount(i, c.request.Candidates) {
			at := place{hop.Plan.Views[i].Name, featurestore.Bucket(keys.At(k))}
			if !seen[at] {
				seen[at] = true
				out = append(out, &onehopv1.Provenance{View: at.view, Bucket: uint32(at.bucket), Watermarks: watermarks(read.Marks(row))})
			}
			row++
		}
	}
	return out, nil
}

func watermarks(marks map[ingest.PartitionID]int64) []*onehopv1.Watermark {
	var out []*onehopv1.Watermark
	for id, next := range marks {
		out = append(out, &onehopv1.Watermark{TopicId: id.Topic.String(), Partition: id.Partition, NextOffset: next})
	}
	slices.SortFunc(out, func(a, b *onehopv1.Watermark) int {
		return cmp.Or(cmp.Compare(a.GetTopicId(), b.GetTopicId()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return out
}
