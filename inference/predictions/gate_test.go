package predictions

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// clocked is a gate by a clock of the test, and what it told.
type clocked struct {
	*Gate
	now    time.Time
	turned []bool
}

func newClocked(period time.Duration) *clocked {
	c := &clocked{now: time.Unix(1e9, 0)}
	c.Gate = NewGate(period, func() time.Time { return c.now }, func(on bool, _, _ time.Duration) { c.turned = append(c.turned, on) })
	return c
}

// window is a period of so many lookups, each of which costs 1 µs and saves so much.
func (c *clocked) window(lookups int, saves time.Duration) {
	for range 10 {
		c.now = c.now.Add(c.period / 10)
		c.Observe(lookups/10, time.Duration(lookups/10)*time.Microsecond, time.Duration(lookups/10)*saves)
	}
}

func (c *clocked) want(t *testing.T, want Mode) {
	t.Helper()
	if got := c.Mode(); got != want {
		t.Errorf("after %s the mode is %d, want %d", c.now.Sub(time.Unix(1e9, 0)), got, want)
	}
}

// TestGateTurns off after a window that did not pay, but not after the first, in which the cache was empty; rests longer each time that it is
// tried in vain, and turns on when it would pay.
func TestGateTurns(t *testing.T) {
	c := newClocked(time.Second)
	c.window(5000, 0)
	c.want(t, On)
	c.window(5000, 2*time.Microsecond)
	c.want(t, On)
	c.window(5000, 500*time.Nanosecond)
	c.want(t, Off)
	for _, rest := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 16 * time.Minute} {
		c.now = c.now.Add(rest - time.Second)
		c.want(t, Off)
		c.now = c.now.Add(time.Second)
		c.want(t, Sampling)
		c.window(200, 0)
		c.want(t, Sampling)
		c.window(200, 0)
		c.want(t, Off)
	}
	c.now = c.now.Add(lastRest)
	c.want(t, Sampling)
	c.window(200, 3*time.Microsecond)
	c.want(t, On)
	c.window(5000, 3*time.Microsecond)
	c.window(5000, 3*time.Microsecond)
	c.window(5000, 0)
	c.want(t, Off)
	c.now = c.now.Add(firstRest)
	c.want(t, Sampling)
	if !slices.Equal(c.turned, []bool{false, true, false}) {
		t.Errorf("it told %v", c.turned)
	}
}

// TestGateJudgesByEnough: few lookups say nothing, and neither does one during which the process slept.
func TestGateJudgesByEnough(t *testing.T) {
	c := newClocked(time.Second)
	for range 10 {
		c.window(90, 0)
	}
	c.want(t, On)
	c.window(5000, 3*time.Microsecond)
	c.Observe(1, time.Second, 0)
	c.window(5000, 3*time.Microsecond)
	c.want(t, On)
}

// TestSampleIsOneInSixtyFour and the same keys each time.
func TestSampleIsOneInSixtyFour(t *testing.T) {
	c := newClocked(time.Second)
	sampled := 0
	for i := range uint64(64000) {
		key := binary.LittleEndian.AppendUint64(nil, i)
		first := c.Sampled(key)
		if first {
			sampled++
		}
		if c.Sampled(key) != first {
			t.Fatal("a key is in the sample and is not")
		}
	}
	if sampled < 800 || sampled > 1200 {
		t.Errorf("%d of 64000 are sampled, want about 1000", sampled)
	}
}
