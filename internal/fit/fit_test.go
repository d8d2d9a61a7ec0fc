package fit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestLine: it finds what work takes by units and for itself, forgets what was, and says by how much times vary.
func TestLine(t *testing.T) {
	var l Line
	near := func(what string, got, want, within time.Duration) {
		t.Helper()
		if got < want-within || got > want+within {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	near("nothing was seen", l.Time(100)+l.Margin(), 0, 0)
	random := rand.New(rand.NewPCG(1, 2))
	observe := func(perUnit, fixed, noise time.Duration) {
		for range 10 * Memory {
			n := 1 + random.IntN(100)
			l.Observe(n, time.Duration(n)*perUnit+fixed+time.Duration((2*random.Float64()-1)*float64(noise)))
		}
	}
	observe(time.Millisecond, 20*time.Millisecond, 0)
	near("100 units", l.Time(100), 120*time.Millisecond, time.Microsecond)
	near("none", l.Time(0), 20*time.Millisecond, time.Microsecond)
	observe(3*time.Millisecond, 10*time.Millisecond, 0)
	near("100 units that take longer now", l.Time(100), 310*time.Millisecond, time.Millisecond)
	observe(3*time.Millisecond, 100*time.Millisecond, 40*time.Millisecond)
	near("the margin is twice the mean distance", l.Margin(), 40*time.Millisecond, 12*time.Millisecond)
	before := l.Time(50)
	l.Observe(50, time.Hour)
	near("one time of an hour", l.Time(50), before, before/4)
}

// TestLineOfOneSize: where all work was of one size, more takes more in proportion; and times that fall with the size are no credit.
func TestLineOfOneSize(t *testing.T) {
	var l Line
	for range Memory {
		l.Observe(10, 10*time.Millisecond)
	}
	if got := l.Time(20); got < 19*time.Millisecond || got > 21*time.Millisecond {
		t.Errorf("twice as much takes %s", got)
	}
	for i := range 10 * Memory {
		l.Observe(1+i%10, time.Duration(11-i%10)*time.Millisecond)
	}
	if l.PerUnit < 0 || l.Fixed < 0 {
		t.Errorf("%+v", l)
	}
}
