package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/maintain"
	"github.com/onehop/onehop/featurestore/online"
	"github.com/onehop/onehop/featurestore/stream"
)

// backfill lets Kafka and Redis forget everything, and fills the views from history while
// events arrive. All but the last fillers are stopped at some moment.
func backfill(ctx context.Context, s *Stand) error {
	if err := s.forgotten(ctx); err != nil {
		return err
	}
	store, err := online.Open(ctx, s.checker.Redis)
	if err != nil {
		return err
	}
	filler := &maintain.Backfill{Pool: s.checker.Pool, Store: store, Catalog: s.checker.newest()}
	return s.streaming(ctx, max(1000, s.rate()/4), func(ctx context.Context) error {
		logs := func(ctx context.Context) (featurestore.TopicID, map[int32]ingest.Offsets, error) {
			return stream.Logs(ctx, s.kafka, s.checker.Topic())
		}
		views := s.checker.newest().Views
		for i := range views {
			for range s.Size.Times {
				if err := s.stopped(ctx, filler, &views[i], logs); err != nil {
					return err
				}
			}
			if err := filled(filler.View(ctx, &views[i], logs)); err != nil {
				return err
			}
			s.Say("view %s is filled", views[i].Name)
		}
		took, err := s.live(ctx, time.Minute)
		s.note("live_seconds", took.Seconds())
		return err
	})
}

// stopped begins to fill a view and stops soon.
func (s *Stand) stopped(ctx context.Context, filler *maintain.Backfill, view *featurestore.View, logs maintain.Logs) error {
	soon, cancel := context.WithTimeout(ctx, time.Duration(1+s.Random.IntN(60))*time.Millisecond)
	defer cancel()
	err := filled(filler.View(soon, view, logs))
	if errors.Is(soon.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

// filled lets it pass that a filler that was to be stopped had done its work.
func filled(_ *maintain.Filled, err error) error {
	var fault *featurestore.Error
	if errors.As(err, &fault) && fault.Code == featurestore.Invalid {
		return nil
	}
	return err
}
