package chaos

import (
	"context"
	"fmt"
	"time"
)

// kill kills ingest while it works and while it starts.
func kill(ctx context.Context, s *Stand) error {
	p, err := s.IngestReady(ctx, "one")
	if err != nil {
		return err
	}
	for i := range s.Size.Times {
		if err := s.Feed.Send(ctx, s.Size.Events/s.Size.Times); err != nil {
			return err
		}
		if err := s.someTime(ctx, 0, 900*time.Millisecond); err != nil {
			return err
		}
		p.Kill()
		s.retire(p)
		if p, err = s.Ingest(ctx, "one"); err != nil {
			return err
		}
		s.Say("kill %d of %d", i+1, s.Size.Times)
	}
	return p.Ready(ctx)
}

// maxMembers bounds the members that run at a time.
const maxMembers = 4

// members lets processes join and leave, a step every 600 ms to 1 s.
func members(ctx context.Context, s *Stand) error {
	if _, err := s.IngestReady(ctx, ""); err != nil {
		return err
	}
	return s.streaming(ctx, s.Size.Events/s.Size.Times, func(ctx context.Context) error {
		var leaving []*Process
		here := append([]*Process(nil), s.processes...)
		for i := range s.Size.Times {
			if len(here) > 1 && (len(here) == maxMembers || s.Random.IntN(2) == 0) {
				at := s.Random.IntN(len(here))
				here[at].Leave()
				leaving = append(leaving, here[at])
				here = append(here[:at], here[at+1:]...)
			} else {
				p, err := s.Ingest(ctx, "")
				if err != nil {
					return err
				}
				here = append(here, p)
			}
			s.Say("step %d of %d: %d members", i+1, s.Size.Times, len(here))
			if err := s.someTime(ctx, 400*time.Millisecond, 800*time.Millisecond); err != nil {
				return err
			}
		}
		for _, p := range leaving {
			if err := p.Left(ctx); err != nil {
				return err
			}
			s.retire(p)
		}
		return nil
	})
}

// session is the session timeout of the consumer groups.
const session = 10 * time.Second

// zombies stops two of three members past their session, while their partitions go to the
// third, and lets them go on with what they had in hand.
func zombies(ctx context.Context, s *Stand) error {
	for range 3 {
		if _, err := s.IngestReady(ctx, ""); err != nil {
			return err
		}
	}
	rounds := s.Size.Times / 2
	return s.streaming(ctx, s.Size.Events/rounds/15, func(ctx context.Context) error {
		for i := range rounds {
			if err := s.someTime(ctx, time.Second, 2*time.Second); err != nil {
				return err
			}
			before, err := s.refused(ctx)
			if err != nil {
				return err
			}
			if err := s.stopTwo(ctx); err != nil {
				return err
			}
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
			after, err := s.refused(ctx)
			if err != nil {
				return err
			}
			s.note("refused_commits", s.figures["refused_commits"]+after-before)
			s.Say("round %d of %d: %.0f commits refused", i+1, rounds, after-before)
		}
		return nil
	})
}

func (s *Stand) stopTwo(ctx context.Context) error {
	order := s.Random.Perm(len(s.processes))
	for _, at := range order[:2] {
		if err := s.processes[at].Pause(); err != nil {
			return fmt.Errorf("stopping a member: %w", err)
		}
	}
	if err := s.someTime(ctx, session+time.Second, session+3*time.Second); err != nil {
		return err
	}
	for _, at := range order[:2] {
		if err := s.processes[at].Resume(); err != nil {
			return fmt.Errorf("continuing a member: %w", err)
		}
	}
	return nil
}

// refused counts the commits of all members that Redis refused because another had moved the
// watermark.
func (s *Stand) refused(ctx context.Context) (sum float64, err error) {
	for _, p := range s.processes {
		n, err := p.Metric(ctx, "onehop_ingest_view_events_total", `outcome="overtaken"`)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
