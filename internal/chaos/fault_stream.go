package chaos

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// someTime waits a time that the seed draws.
func (s *Stand) someTime(ctx context.Context, least, most time.Duration) error {
	return pause(ctx, least+time.Duration(s.Random.Int64N(int64(most-least))))
}

// streaming produces events, so many a second, as long as do runs, and then what is missing
// to the size of the fault.
func (s *Stand) streaming(ctx context.Context, rate int, do func(context.Context) error) error {
	group, both := errgroup.WithContext(ctx)
	over := make(chan struct{})
	group.Go(func() error { return s.Feed.Stream(both, rate, over) })
	group.Go(func() error {
		defer close(over)
		return do(both)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return s.sendRest(ctx)
}

// sendRest produces what is missing to the size of the fault.
func (s *Stand) sendRest(ctx context.Context) error { return s.sendUpTo(ctx, s.Size.Events) }

// sendUpTo produces what is missing to so many events.
func (s *Stand) sendUpTo(ctx context.Context, events int) error {
	const step = 20_000
	for left := events - int(s.Feed.sent.Load()); left > 0; left -= step {
		if err := s.Feed.Send(ctx, min(left, step)); err != nil {
			return err
		}
	}
	return nil
}

// events only streams; what is wrong is in the events.
func events(ctx context.Context, s *Stand) error {
	if _, err := s.IngestReady(ctx, "one"); err != nil {
		return err
	}
	return s.sendRest(ctx)
}

// postgresAway stops Postgres as it stands, and measures how long an event takes to its row
// before and meanwhile.
func postgresAway(ctx context.Context, s *Stand) error {
	if _, err := s.IngestReady(ctx, "one"); err != nil {
		return err
	}
	if err := s.Feed.Send(ctx, 5000); err != nil {
		return err
	}
	if err := s.Drain(ctx); err != nil {
		return err
	}
	before, err := s.freshness(ctx, 3*time.Second)
	if err != nil {
		return err
	}
	if err := s.world.Postgres.Suspend(); err != nil {
		return err
	}
	during, err := s.freshness(ctx, time.Duration(s.Size.Times)*time.Second)
	if err := s.world.Postgres.Resume(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	s.note("fresh_before_p50_ms", before.p50)
	s.note("fresh_before_worst_ms", before.worst)
	s.note("fresh_away_p50_ms", during.p50)
	s.note("fresh_away_worst_ms", during.worst)
	if limit := max(1000, 3*before.worst); during.worst > limit {
		return errorf("without Postgres an event took %.0f ms to its row; before, at most %.0f ms", during.worst, before.worst)
	}
	if err := s.Feed.Send(ctx, 1000); err != nil {
		return err
	}
	if err := s.Resumed(ctx); err != nil {
		return err
	}
	return s.sendRest(ctx)
}

type freshness struct{ p50, worst float64 } // ms

// freshness measures for some time how long it takes from Kafka's acknowledgement of an
// event until its row has changed, among a hundred other events.
func (s *Stand) freshness(ctx context.Context, during time.Duration) (f freshness, err error) {
	views, err := s.checker.views()
	if err != nil {
		return f, err
	}
	var took []float64
	for end := time.Now().Add(during); time.Now().Before(end); {
		probe := s.Feed.next()
		key := rowKey(views[0], string(probe.Key))
		row := s.checker.Redis.Get(ctx, key).Val() // may not be there yet
		if err := s.Feed.Send(ctx, 100); err != nil {
			return f, err
		}
		if err := s.Feed.sendOne(ctx, probe); err != nil {
			return f, err
		}
		start := time.Now()
		for s.checker.Redis.Get(ctx, key).Val() == row {
			if err := pause(ctx, time.Millisecond); err != nil {
				return f, err
			}
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	slices.Sort(took)
	return freshness{took[len(took)/2], took[len(took)-1]}, nil
}
