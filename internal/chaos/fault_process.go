package chaos

import (
	"context"
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
		if err := pause(ctx, time.Duration(s.Random.IntN(900))*time.Millisecond); err != nil {
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
