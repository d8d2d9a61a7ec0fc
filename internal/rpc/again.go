package rpc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference"
	"github.com/onehop/onehop/internal/shadow"
	onehopv1 "github.com/onehop/onehop/schemas/onehop/v1"
)

// errUnread is wrapped by what [Inference.again] returns when the rows could not be read.
var errUnread = errors.New("no rows")

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
		return nil, fmt.Errorf("%w: %w", errUnread, err)
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

// warming is how long a new version may be tried.
const warming = 2 * time.Second

// Warm runs a version, before it comes into service, on requests that were answered lately, by rows read for it. It fails when
// the model itself cannot be run on them, and when no score is a finite number. What a request lacks for this version is no fault of
// it; where the online store has no answer for any of them, or cannot say which there are, the version is untried. A version that was in service before a restart stays.
func (s *Inference) Warm(ctx context.Context, hop *inference.Hop) error {
	ctx, cancel := context.WithTimeout(ctx, warming)
	defer cancel()
	scored, numbers := 0, 0
	var problem error
	kept, before, away := s.Recent.of(ctx, hop.Model.Name)
	served := slices.Contains(before, digestOf(hop.Model))
	if served {
		kept = kept[:min(1, len(kept))] // it is warm after one, and not judged
	}
	for _, req := range kept {
		if ctx.Err() != nil {
			break
		}
		scores, err := s.again(ctx, hop, 0, req)
		scored += len(scores)
		for _, score := range scores {
			if !math.IsNaN(float64(score)) && !math.IsInf(float64(score), 0) {
				numbers++
			}
		}
		var known *featurestore.Error
		switch {
		case err == nil:
		case errors.As(err, &known) && known.Code == featurestore.Invalid: // it lacks something
		case errors.Is(err, errUnread):
			away = err
		case ctx.Err() != nil: // it may be slow
		case known != nil:
			away = err
		case problem == nil:
			problem = err
		}
	}
	if problem == nil && scored == 0 && away != nil {
		problem = fmt.Errorf("%w: %w", inference.ErrUntried, away)
	}
	if problem == nil && scored > 0 && numbers == 0 {
		problem = errors.New("all scores are NaN or infinite")
	}
	if served {
		return nil
	}
	return problem
}

// KeepRecent keeps requests for the versions that a service finds when it starts, until the context ends.
func (s *Inference) KeepRecent(ctx context.Context) error {
	s.Recent.run(ctx, s.served)
	return nil
}

// served are the digests of the versions of a model that are in service.
func (s *Inference) served(model string) (digests []string) {
	for _, v := range s.Models.Models() {
		if v.Model == model && v.Hop != nil {
			digests = append(digests, digestOf(v.Hop.Model))
		}
	}
	return digests
}
