package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pause waits, or fails with the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// errorf is fmt.Errorf, for short.
func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// final is an error that trying again cannot mend.
type final struct{ error }

// Unwrap returns the error.
func (f final) Unwrap() error { return f.error }

func stop(err error) error { return final{err} }

// eventually tries every 50 ms until it succeeds, or the time is over.
func eventually(ctx context.Context, within time.Duration, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		var over final
		if errors.As(err, &over) || pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("not within %s: %s: %w", within, what, err)
		}
	}
}
