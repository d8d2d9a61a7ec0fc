package app

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatHangsEndsAllTheSame: the process exits when the service has not ended in time, and not when it has.
func TestWhatHangsEndsAllTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		told, ends time.Duration // 0: it is not told
		exits      bool
	}{
		"in time": {time.Minute, 9 * time.Second, false}, "late": {time.Minute, 11 * time.Second, true}, "by itself": {0, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.told > 0 {
					defer time.AfterFunc(c.told, cancel).Stop()
				}
				var out strings.Builder
				exited, stopped := false, false
				well := watchEnd(ctx, func() { stopped = true }, "infer", 10*time.Second, &out, func(int) { exited = true })
				time.Sleep(c.told + c.ends) //nolint:forbidigo // in a bubble
				well()
				if exited != c.exits || stopped != (c.told > 0) || strings.Contains(out.String(), "infer: it has not ended 10s after") != c.exits {
					t.Errorf("exited %t, signals as before %t, %q", exited, stopped, &out)
				}
			})
		})
	}
}
