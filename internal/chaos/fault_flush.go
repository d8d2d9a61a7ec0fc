package chaos

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/internal/servers"
)

// maxRefill is how soon a million entities must be back after all rows were lost.
const maxRefill = 60 * time.Second

// flush empties Redis while events arrive and a reader reads. The Redis has no append-only
// file: how soon it is full again is a figure of ours, not of the disk.
func flush(ctx context.Context, s *Stand) error {
	server, err := servers.Redis(ctx, servers.Options{})
	if err != nil {
		return err
	}
	s.atEnd = server.Stop
	if err := s.useRedis(server.Addr()); err != nil {
		return err
	}
	s.Feed.dirt.Users = s.Size.Events / 5
	if _, err := s.IngestReady(ctx, "one"); err != nil {
		return err
	}
	if err := s.sendRest(ctx); err != nil {
		return err
	}
	if err := s.Drain(ctx); err != nil {
		return err
	}
	reader, err := newReader(ctx, s)
	if err != nil {
		return err
	}
	group, both := errgroup.WithContext(ctx)
	reading, finish := context.WithCancel(both)
	group.Go(func() error { return reader.run(reading) })
	group.Go(func() error {
		defer finish()
		return s.streaming(both, 500, func(ctx context.Context) error { return s.flushes(ctx) })
	})
	err = group.Wait()
	s.note("reads", float64(reader.answers))
	s.note("reads_unavailable", float64(reader.unavailable))
	if err == nil && reader.unavailable == 0 {
		return errorf("the loss was never told to the reader: it has not seen what it is for")
	}
	return err
}

func (s *Stand) flushes(ctx context.Context) error {
	for i := range s.Size.Times {
		if err := s.someTime(ctx, time.Second, 3*time.Second); err != nil {
			return err
		}
		if err := s.checker.Redis.FlushAll(ctx).Err(); err != nil {
			return errorf("emptying Redis: %w", err)
		}
		took, err := s.live(ctx, 4*maxRefill)
		if err != nil {
			return err
		}
		s.worst = max(s.worst, took)
		s.Say("flush %d of %d: live again after %s", i+1, s.Size.Times, took.Round(time.Millisecond))
		s.noteWorst("worst_refill_seconds", took.Seconds())
		if took > maxRefill {
			s.slow = errorf("the rows were back after %s; %s are allowed", s.worst.Round(time.Millisecond), maxRefill)
		}
	}
	return nil
}
