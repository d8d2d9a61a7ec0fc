package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// ErrLost means that the store knows less than it did: it lost acknowledged writes.
// The partition must be opened again, and read again from where Open says.
var ErrLost = errors.New("the online store lost writes; the partition is read again")

// ErrGone means that events which are still needed are no longer in Kafka. Going on
// would silently lose them.
var ErrGone = errors.New("events that are needed are no longer in Kafka")

// AheadError means that offsets of a partition below Next were taken and its log, as the
// caller knew it, ends at End. Either the log has grown since the caller asked, and another
// owner was faster; or Kafka has lost records that it had confirmed. A look at the log now
// tells which: see [AheadError.Real]. Until then it is an [ErrGone].
type AheadError struct {
	Partition int32
	Next, End int64
}

// Error says what is where.
func (e *AheadError) Error() string {
	return fmt.Sprintf("%v: offset %d was folded and the log ends at %d", ErrGone, e.Next, e.End)
}

// Unwrap returns ErrGone.
func (e *AheadError) Unwrap() error { return ErrGone }

// Real says whether records are lost, given the logs as they are after the error.
func (e *AheadError) Real(logs map[int32]Offsets) bool { return logs[e.Partition].End < e.Next }

// errContended means that other writers changed the same rows again and again.
var errContended = errors.New("too many writers met at the same rows")

// Batch is a run of a partition's records: those with offsets in [From, To). Events
// are the accepted ones among them in order of offset.
type Batch struct {
	From, To int64
	Events   []featurestore.Event
}

// Stats counts what a Partition did for one view since it was made.
type Stats struct {
	Folded     int64 // events folded, late ones included
	Late       int64 // events that came after a tile of theirs had left their row
	Duplicates int64 // events that their row had folded already, by the view's dedupe
	Skipped    int64 // events below the watermark of their bucket
	Commits    int64 // commits written
	Conflicts  int64 // commits refused because a row had changed
	Overtaken  int64 // commits refused because another owner had moved the watermark
	RowHits    int64 // rows found in the cache of hot rows
	RowLoads   int64 // rows read from the store
}

// Partition follows one partition. It is not safe for concurrent use; several partitions
// work side by side.
type Partition struct {
	id    PartitionID
	store Store
	views []*viewState
	// position is the offset after the last batch processed.
	position int64
}

// viewState is where one generation stands.
type viewState struct {
	*View
	next   []int64 // remembered watermark of each bucket
	target int64   // to be reached before the buckets are live, or Missing
	folder folder
	hot    *hotView
	stats  Stats
	// rowBytes is how large rows lately were.
	rowBytes int
}

// NewPartition follows a partition for the views of hot, which it shares with the other
// partitions of the topic in this process.
func NewPartition(store Store, id PartitionID, hot *HotRows) *Partition {
	p := &Partition{id: id, store: store}
	for i, v := range hot.views {
		p.views = append(p.views, &viewState{
			View: v, rowBytes: firstRowBytes, folder: folder{state: v.Program.NewState()}, hot: &hot.rows[i],
		})
	}
	return p
}

// firstRowBytes is how large rows are taken to be before any was seen.
const firstRowBytes = 1024

// Stats is what the partition has done so far for each view, in the order in which the
// views were given.
func (p *Partition) Stats() []Stats {
	stats := make([]Stats, len(p.views))
	for i, v := range p.views {
		stats[i] = v.stats
	}
	return stats
}

// Filling says for each view, in the order in which they were given, whether this partition
// has still to be folded for a fill.
func (p *Partition) Filling() []bool {
	filling := make([]bool, len(p.views))
	for i, v := range p.views {
		filling[i] = v.target != Missing
	}
	return filling
}

// Position is the offset after the last record processed.
func (p *Partition) Position() int64 { return p.position }

// Open asks the store where every bucket stands and returns the offset to read
// from: the lowest watermark. offsets are those of all partitions of the topic.
// Buckets that the store does not know begin to fill from the start of the log.
func (p *Partition) Open(ctx context.Context, offsets map[int32]Offsets) (int64, error) {
	own := offsets[p.id.Partition]
	resume := own.End
	for _, v := range p.views {
		marks, err := p.marks(ctx, v, offsets)
		if err != nil {
			return 0, fmt.Errorf("view %q: %w", v.Name, err)
		}
		v.next, v.target = make([]int64, len(marks)), Missing
		for b, mark := range marks {
			if err := check(mark, p.id.Partition, own); err != nil {
				return 0, fmt.Errorf("view %q, bucket %d, partition %d: %w", v.Name, b, p.id.Partition, err)
			}
			v.next[b] = mark.Next
			v.target = max(v.target, mark.Target)
			resume = min(resume, max(mark.Next, own.Start))
		}
	}
	p.position = resume
	return resume, p.advance(ctx)
}

// marks reads the marks of a view, and makes unknown buckets known first.
func (p *Partition) marks(ctx context.Context, v *viewState, offsets map[int32]Offsets) ([]Mark, error) {
	marks, err := p.store.Marks(ctx, v.View, p.id)
	if err != nil {
		return nil, err
	}
	var unknown []int
	for b := range marks {
		if !marks[b].Known {
			unknown = append(unknown, b)
		}
	}
	if len(unknown) == 0 {
		return marks, nil
	}
	for partition, o := range offsets {
		if o.Start > 0 {
			return nil, fmt.Errorf("%w: partition %d begins at offset %d", ErrGone, partition, o.Start)
		}
	}
	if err := p.store.BeginFill(ctx, v.View, p.id.Topic, unknown, offsets); err != nil {
		return nil, err
	}
	return p.store.Marks(ctx, v.View, p.id)
}

// Possible says whether Kafka still has every event that a view needs, whichever of the
// partitions it is in; the error is [ErrGone] when it has not. It calls look for the logs
// when it knows the watermarks: other processes move them all the time, and a log that was
// asked for before would seem to end too early.
func Possible(ctx context.Context, store Marker, view *View, topic featurestore.TopicID, partitions []int32, look func(context.Context) (map[int32]Offsets, error)) error {
	all := make([][]Mark, len(partitions))
	for i, partition := range partitions {
		var err error
		if all[i], err = store.Marks(ctx, view, PartitionID{Topic: topic, Partition: partition}); err != nil {
			return err
		}
	}
	logs, err := look(ctx)
	if err != nil {
		return err
	}
	for i, partition := range partitions {
		for _, mark := range all[i] {
			if !mark.Known {
				mark = Mark{Known: true} // it will be filled from the start
			}
			if err := check(mark, partition, logs[partition]); err != nil {
				return fmt.Errorf("partition %d: %w", partition, err)
			}
		}
	}
	return nil
}

// check says whether the log still has what a bucket needs.
func check(mark Mark, partition int32, log Offsets) error {
	next := max(mark.Next, 0) // a partition that the bucket does not know begins at 0
	switch {
	case !mark.Known:
		return ErrLost
	case next < log.Start:
		return fmt.Errorf("%w: offset %d is needed and the log begins at %d", ErrGone, next, log.Start)
	case next > log.End:
		return &AheadError{Partition: partition, Next: next, End: log.End}
	}
	return nil
}

// Process folds a batch into every view and commits it. It returns when every bucket
// that has events of the batch has its watermark at the batch's end. On any error
// the partition must be opened again.
func (p *Partition) Process(ctx context.Context, batch Batch) error {
	for _, v := range p.views {
		if err := p.processView(ctx, v, batch, false); err != nil {
			return fmt.Errorf("view %q: %w", v.Name, err)
		}
	}
	p.position = max(p.position, batch.To)
	if slices.ContainsFunc(p.views, func(v *viewState) bool { return v.target != Missing && v.target <= p.position }) {
		return p.Heartbeat(ctx)
	}
	return nil
}

// Heartbeat moves the watermark of buckets without recent events to the position, so
// that little is read again after a restart, and lets a fill complete. It finds out,
// too, when the store has lost its rows while no events arrive. Call it every few
// seconds.
func (p *Partition) Heartbeat(ctx context.Context) error {
	for _, v := range p.views {
		if err := p.processView(ctx, v, Batch{From: p.position, To: p.position}, true); err != nil {
			return fmt.Errorf("view %q: %w", v.Name, err)
		}
	}
	return p.advance(ctx)
}

// advance lets the store see whether a fill is complete, and learns of lost rows.
func (p *Partition) advance(ctx context.Context) error {
	for _, v := range p.views {
		state, err := p.store.Advance(ctx, v.View, p.id)
		switch {
		case err != nil:
			return fmt.Errorf("view %q: %w", v.Name, err)
		case state == Lost, state == Behind && v.target == Missing:
			// Behind without knowing: another partition found the loss first and began to fill.
			return fmt.Errorf("view %q: %w", v.Name, ErrLost)
		case state == Live || slices.Min(v.next) >= v.target:
			v.target = Missing
		}
	}
	return nil
}
