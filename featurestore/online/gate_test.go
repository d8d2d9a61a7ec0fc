package online

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// learned is a gate that has seen reads of which each key takes a millisecond, of all that are being read.
func learned(t *testing.T) *gate {
	t.Helper()
	g := &gate{}
	for i := range 100 {
		turn, err := g.enter(1+i%10, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(1+i%10) * time.Millisecond) //nolint:forbidigo // in a bubble
		g.leave(turn, true)
	}
	return g
}

// within asks for a turn, and fails the test unless it is let in or refused so.
func (g *gate) within(t *testing.T, keys int, left time.Duration, want featurestore.Code) (turn, time.Duration) {
	t.Helper()
	turn, err := g.enter(keys, time.Now().Add(left))
	known, _ := errors.AsType[*featurestore.Error](err)
	if (err == nil) != (want == 0) || err != nil && known.Code != want {
		t.Fatalf("%d keys in %s: %v", keys, left, err)
	}
	if err != nil {
		return turn, known.Retry
	}
	return turn, 0
}

// TestReadsThatWouldBeLateAreKeptOut: but for the few that are always tried.
func TestReadsThatWouldBeLateAreKeptOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := learned(t)
		var turns []turn
		for range alwaysTried {
			turn, _ := g.within(t, 10, time.Nanosecond, 0)
			turns = append(turns, turn)
		}
		takes := time.Duration(10*(alwaysTried+1)) * time.Millisecond
		if _, retry := g.within(t, 10, takes-5*time.Millisecond, featurestore.Exhausted); retry < takes || retry > takes*5/4 {
			t.Errorf("the first is told to try again after %s, when those that are under way take %s", retry, takes)
		}
		in, _ := g.within(t, 10, takes+5*time.Millisecond, 0)
		unhurried, err := g.enter(1000, time.Time{})
		if err != nil {
			t.Errorf("without a deadline: %v", err)
		}
		g.within(t, 1, takes+100*time.Millisecond, featurestore.Exhausted) // behind a thousand keys
		for _, turn := range append(turns, in, unhurried) {
			g.leave(turn, true)
		}
		if g.reads != 0 || g.keys != 0 || g.refused != 2 {
			t.Errorf("%d reads of %d keys are left, %d were refused", g.reads, g.keys, g.refused)
		}
	})
}

// TestManyWhoAreRefusedComeBackApart: the more come and the fewer are let in, the later are they to try again.
func TestManyWhoAreRefusedComeBackApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := learned(t)
		for range alwaysTried {
			g.within(t, 1, time.Nanosecond, 0)
		}
		_, first := g.within(t, 1, time.Microsecond, featurestore.Exhausted)
		last := first
		for range 100 {
			_, last = g.within(t, 1, time.Microsecond, featurestore.Exhausted)
		}
		if last < 4*first || last > maxRetry {
			t.Errorf("the first after %s, the hundredth after %s", first, last)
		}
		for range 100 {
			g.within(t, 0, time.Hour, 0)
		}
		if _, later := g.within(t, 1, time.Microsecond, featurestore.Exhausted); later > 2*first {
			t.Errorf("when many were let in, after %s", later)
		}
	})
}

// TestAStoreThatDoesNotAnswerIsNotBusy: who cannot be in time because nothing is answered is told that.
func TestAStoreThatDoesNotAnswerIsNotBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := learned(t)
		for range alwaysTried {
			g.within(t, 10, time.Minute, 0)
		}
		g.within(t, 1, time.Millisecond, featurestore.Exhausted)
		time.Sleep(silence + time.Millisecond) //nolint:forbidigo // in a bubble
		g.within(t, 1, time.Millisecond, featurestore.Unavailable)
		_, err := g.enter(1, time.Now())
		if known, _ := errors.AsType[*featurestore.Error](err); known == nil || known.Cause == nil || known.Message != noAnswer(nil).Message {
			t.Errorf("%v is another kind of failure than that of a read which was tried, or has no cause to be logged", err)
		}
		turn, err := g.enter(1, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		g.leave(turn, false)
		g.within(t, 1, time.Millisecond, featurestore.Unavailable)
		if turn, err = g.enter(1, time.Time{}); err != nil {
			t.Fatal(err)
		}
		g.leave(turn, true)
		g.within(t, 1, time.Millisecond, featurestore.Exhausted)
	})
}
