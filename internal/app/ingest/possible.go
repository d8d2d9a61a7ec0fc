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
func (s *service) possible(ctx context.Context, views []*ingest.View, name string, topic featurestore.TopicID, logs map[int32]ingest.Offsets) ([]*ingest.View, error) {
	s.metrics.gone.Reset()
	look := func(ctx context.Context) (map[int32]ingest.Offsets, error) {
		id, logs, err := stream.Logs(ctx, s.kafka, name)
		if err == nil && id != topic {
			err = fmt.Errorf("topic %q: %w", name, stream.ErrMadeAgain)
		}
		return logs, err
	}
	var list []*ingest.View
	for _, v := range views {
		err := ingest.Possible(ctx, s.Store, v, topic, slices.Collect(maps.Keys(logs)), look)
		if err == nil {
			list = append(list, v)
			continue
		}
		if !errors.Is(err, ingest.ErrGone) {
			return nil, fmt.Errorf("view %q: %w", v.Name, err)
		}
		s.Log.Error("ALARM: a view is not filled; apply definitions without the change, or define it anew under another name over a source whose topic is whole",
			"view", v.Name, "generation", v.Generation, "error", err)
		s.metrics.goneView(v)
		if err := s.Store.Suspend(ctx, online.NewView(v.Namespace, v.View)); err != nil {
			return nil, err
		}
	}
	return list, nil
}
