package online

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// TestReadsThatWouldBeLateAreKeptOut: a key takes a millisecond, of all that are being read.
func TestReadsThatWouldBeLateAreKeptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		enter := func(keys int, within time.Duration) turn {
			t.Helper()
			turn, err := g.enter(keys, time.Now().Add(within))
			if err != nil {
				t.Fatal(err)
			}
			return turn
		}
		for i := range 100 {
			turn := enter(1+i%10, time.Hour)
			time.Sleep(time.Duration(1+i%10) * time.Millisecond) //nolint:forbidigo // in a bubble
			g.leave(turn)
		}
		ahead := enter(10, time.Nanosecond) // alone: it is tried
		_, err := g.enter(10, time.Now().Add(15*time.Millisecond))
		refused, ok := errors.AsType[*featurestore.Error](err)
		if !ok || refused.Code != featurestore.Exhausted || refused.Retry < 4*time.Millisecond || refused.Retry > 10*time.Millisecond {
			t.Errorf("20 ms of keys in 15 ms: %v, again after %s", err, refused.Retry)
		}
		beside := enter(1, 15*time.Millisecond)
		unhurried, err := g.enter(1000, time.Time{})
		if err != nil {
			t.Errorf("without a deadline: %v", err)
		}
		if _, err := g.enter(1, time.Now().Add(100*time.Millisecond)); err == nil {
			t.Error("beside a thousand keys one was let in that has 100 ms")
		}
		for _, turn := range []turn{ahead, beside, unhurried} {
			g.leave(turn)
		}
		if g.reads != 0 || g.keys != 0 {
			t.Errorf("%d reads of %d keys are left", g.reads, g.keys)
		}
	})
}
