package serve

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// repeat does something again and again until the context ends; never where every is 0. The
// first time is somewhere in the first interval, so that services that start together do not
// do it together. A failure is logged as the message and is no end.
func repeat(ctx context.Context, every time.Duration, log *slog.Logger, failed string, once func(context.Context) error) error {
	if every <= 0 {
		return nil
	}
	next := rand.N(every) //nolint:gosec // to spread load
	for {
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		next = every
		if err := once(ctx); err != nil && ctx.Err() == nil {
			log.Warn(failed, "error", err)
		}
	}
}
