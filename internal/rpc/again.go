package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/internal/shadow"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// again answers a request once more by another version, by a read of its own and with a priority of its own, and returns the scores in the order of
// the request.
func (s *Inference) again(ctx context.Context, hop *inference.Hop, priority int, req *onehopv1.GetFeaturesAndPredictRequest) ([]float32, error) {
	call := hopCalls.Get().(*hopCall)
	defer hopCalls.Put(call)
	if err := call.take(hop, req); err != nil {
		return nil, err
	}
	call.request.Priority = priority
	read, err := s.read(ctx, hop, call, false)
	defer read.Release()
	if err != nil {
		return nil, err
	}
	if read.Filling() && !req.GetAllowStale() {
		return nil, errFilling()
	}
	if err := hop.Run(ctx, &call.request, &call.result); err != nil {
		return nil, err
	}
	return slices.Clone(call.result.Scores), nil
}

// shadow has the shadow version of a model answer the request, behind the caller's back.
func (s *Inference) shadow(picked *inference.Picked, call *hopCall, req *onehopv1.GetFeaturesAndPredictRequest) {
	if picked.Shadow == 0 {
		return
	}
	model, version := picked.Model.Name, picked.Shadow
	s.Shadow.Put(shadow.Job{
		Model: model, Version: version, Size: proto.Size(req), Served: slices.Clone(call.result.Scores),
		Run: func(ctx context.Context) ([]float32, error) {
			hop, err := s.Models.Find(model, version)
			if err != nil {
				return nil, err
			}
			defer hop.Release()
			return s.again(ctx, hop, shadowPriority, req)
		},
	})
}

// Bounds of the requests that are kept to try new versions on.
const (
	keptRequests = 8
	keptBytes    = 64 << 10 // each
	keepEvery    = time.Second
	// warming is how long a new version may be tried.
	warming = 2 * time.Second
)

// recent keeps a few requests of each model that were answered lately. There are as many models as the repository has.
type recent struct{ models sync.Map } // of *requests by name

type requests struct {
	next atomic.Int64 // when to keep the next one, in nanoseconds

	mu   sync.Mutex
	kept []*onehopv1.GetFeaturesAndPredictRequest // a ring
	at   int
}

// keep keeps a request, one a second.
func (r *recent) keep(req *onehopv1.GetFeaturesAndPredictRequest, now time.Time) {
	found, ok := r.models.Load(req.GetModel())
	if !ok {
		found, _ = r.models.LoadOrStore(req.GetModel(), &requests{})
	}
	list := found.(*requests)
	next := list.next.Load()
	if now.UnixNano() < next || !list.next.CompareAndSwap(next, now.Add(keepEvery).UnixNano()) || proto.Size(req) > keptBytes {
		return
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	if len(list.kept) < keptRequests {
		list.kept = append(list.kept, req)
		return
	}
	list.kept[list.at] = req
	list.at = (list.at + 1) % keptRequests
}

func (r *recent) of(model string) []*onehopv1.GetFeaturesAndPredictRequest {
	found, ok := r.models.Load(model)
	if !ok {
		return nil
	}
	list := found.(*requests)
	list.mu.Lock()
	defer list.mu.Unlock()
	return slices.Clone(list.kept)
}

// Warm runs a version, before it comes into service, on requests that were answered lately, by rows read for it. It fails when
// the model itself cannot be run on them, and when it scores nothing but NaN. What a request lacks for this version is no fault of
// it, and no answer of the online store neither.
func (s *Inference) Warm(ctx context.Context, hop *inference.Hop) error {
	ctx, cancel := context.WithTimeout(ctx, warming)
	defer cancel()
	scored, numbers := 0, 0
	for _, req := range s.recent.of(hop.Model.Name) {
		scores, err := s.again(ctx, hop, 0, req)
		scored += len(scores)
		for _, score := range scores {
			if score == score { //nolint:gocritic // it is none where it is not
				numbers++
			}
		}
		var known *featurestore.Error
		if err != nil && ctx.Err() == nil && !errors.As(err, &known) {
			return fmt.Errorf("model %s version %d: %w", hop.Model.Name, hop.Model.Number, err)
		}
	}
	if scored > 0 && numbers == 0 {
		return fmt.Errorf("model %s version %d: all %d scores of requests that were answered lately are NaN", hop.Model.Name, hop.Model.Number, scored)
	}
	return nil
}
