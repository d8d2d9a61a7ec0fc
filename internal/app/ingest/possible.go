package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/stream"
)

// possible leaves out the views that need events which Kafka no longer has, and raises
// the alarm for each: they are not served, and nothing resumes them silently, but the
// other views go on. For a new generation the one before it stays in service.
func (s *service) possible(ctx context.Context, views []*ingest.View, name string, topic featurestore.TopicID, logs map[int32]ingest.Offsets) (list, gone []*ingest.View, err error) {
	for _, v := range views {
		err := s.possibleView(ctx, v, name, topic, logs)
		if err == nil {
			list = append(list, v)
			continue
		}
		if !errors.Is(err, ingest.ErrGone) {
			return nil, nil, fmt.Errorf("view %q: %w", v.Name, err)
		}
		gone = append(gone, v)
		s.Log.Error("ALARM: a view is not filled: Kafka no longer has events that it needs; run onehop backfill, which takes them from history",
			"view", v.Name, "generation", v.Generation, "error", err)
		s.metrics.goneView(v)
		if err := s.Store.Suspend(ctx, online.NewView(v.Namespace, v.View)); err != nil {
			return nil, nil, err
		}
	}
	return list, gone, nil
}

func (s *service) possibleView(ctx context.Context, v *ingest.View, name string, topic featurestore.TopicID, logs map[int32]ingest.Offsets) error {
	look := func(ctx context.Context) (map[int32]ingest.Offsets, error) {
		id, logs, err := stream.Logs(ctx, s.kafka, name)
		if err == nil && id != topic {
			err = fmt.Errorf("topic %q: %w", name, stream.ErrMadeAgain)
		}
		return logs, err
	}
	return ingest.Possible(ctx, s.Store, v, topic, slices.Collect(maps.Keys(logs)), look)
}

// backfilled says whether a view that was left out can be followed now, because somebody has
// filled it from history.
func (s *service) backfilled(ctx context.Context, catalog *featurestore.Catalog, gone []*ingest.View) bool {
	for _, v := range gone {
		name := catalog.Source(v.Source).Topic
		topic, logs, err := stream.Logs(ctx, s.kafka, name)
		if err == nil && s.possibleView(ctx, v, name, topic, logs) == nil {
			s.Log.Info("a view was filled from history, and is followed from there", "view", v.Name, "generation", v.Generation)
			return true
		}
	}
	return false
}
