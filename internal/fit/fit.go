// Package fit learns how long work takes by how much there is of it.
package fit

import (
	"math"
	"time"
)

// Memory is the memory of a [Line] in observations: one has 1/e of its weight after so many others.
const Memory = 64

// Line fits the time of work by PerUnit·n + Fixed: least squares in which older observations count less. The zero value knows nothing
// and says that work takes no time. It is not safe for concurrent use.
type Line struct {
	// PerUnit and Fixed are the fit, in seconds.
	PerUnit, Fixed float64

	weight, n, nn, t, nt float64 // sums, in units and seconds
	deviation            float64 // mean distance of a time from the fit before it
}

// Observe takes how long n units took.
func (l *Line) Observe(units int, took time.Duration) {
	n, t := float64(units), took.Seconds()
	const keep = 1 - 1./Memory
	if l.weight > 0 {
		// A time during which the process was not scheduled says nothing of the work.
		t = min(t, 8*l.seconds(units))
		l.deviation = keep*l.deviation + (1-keep)*math.Abs(t-l.seconds(units))
	}
	l.weight = keep*l.weight + 1
	l.n = keep*l.n + n
	l.nn = keep*l.nn + n*n
	l.t = keep*l.t + t
	l.nt = keep*l.nt + n*t
	l.fit()
}

func (l *Line) fit() {
	spread := l.weight*l.nn - l.n*l.n
	if spread < 1e-6*l.weight*l.nn { // always as many: more may cost in proportion
		l.PerUnit, l.Fixed = l.t/l.n, 0
		return
	}
	l.PerUnit = max(0, (l.weight*l.nt-l.n*l.t)/spread)
	l.Fixed = (l.t - l.PerUnit*l.n) / l.weight
	if l.Fixed < 0 {
		l.PerUnit, l.Fixed = l.nt/l.nn, 0
	}
}

func (l *Line) seconds(units int) float64 { return l.PerUnit*float64(units) + l.Fixed }

// Time is how long n units take.
func (l *Line) Time(units int) time.Duration {
	return time.Duration(l.seconds(units) * float64(time.Second))
}

// Margin is by how much times exceed the fit: twice their mean distance from it.
func (l *Line) Margin() time.Duration { return time.Duration(2 * l.deviation * float64(time.Second)) }
