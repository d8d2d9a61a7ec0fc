package batching

import (
	"math"
	"time"
)

// memory of the fit: an observation has 1/e of its weight after so many others.
const costMemory = 64

// cost fits the time of a run by a·rows + b: least squares in which older runs count less. The zero value knows nothing and
// says that runs take no time.
type cost struct {
	weight, n, nn, t, nt float64 // sums, in rows and seconds
	a, b                 float64
	deviation            float64 // mean distance of a run's time from the fit before it
}

// observe takes the time of a run.
func (c *cost) observe(rows int, took time.Duration) {
	n, t := float64(rows), took.Seconds()
	const keep = 1 - 1./costMemory
	if c.weight > 0 {
		// A run during which the process was not scheduled says nothing of the model.
		t = min(t, 8*c.seconds(rows))
		c.deviation = keep*c.deviation + (1-keep)*math.Abs(t-c.seconds(rows))
	}
	c.weight = keep*c.weight + 1
	c.n = keep*c.n + n
	c.nn = keep*c.nn + n*n
	c.t = keep*c.t + t
	c.nt = keep*c.nt + n*t
	c.fit()
}

func (c *cost) fit() {
	spread := c.weight*c.nn - c.n*c.n
	if spread < 1e-6*c.weight*c.nn { // all runs had as many rows: more rows may cost in proportion
		c.a, c.b = c.t/c.n, 0
		return
	}
	c.a = max(0, (c.weight*c.nt-c.n*c.t)/spread)
	c.b = (c.t - c.a*c.n) / c.weight
	if c.b < 0 {
		c.a, c.b = c.nt/c.nn, 0
	}
}

func (c *cost) seconds(rows int) float64 { return c.a*float64(rows) + c.b }

// time is how long a run of so many rows takes.
func (c *cost) time(rows int) time.Duration {
	return time.Duration(c.seconds(rows) * float64(time.Second))
}

// runs is how long rows take that need several runs.
func (c *cost) runs(rows, runs int) time.Duration {
	return time.Duration((c.a*float64(rows) + c.b*float64(runs)) * float64(time.Second))
}

// margin is by how much runs take longer than the fit says.
func (c *cost) margin() time.Duration { return time.Duration(2 * c.deviation * float64(time.Second)) }

// worth is the number of rows, up to most, of which the fixed cost of a run is a fifth of the whole.
func (c *cost) worth(most int) int {
	if 4*c.b >= c.a*float64(most) {
		return most
	}
	return int(4 * c.b / c.a)
}

// doubt is how many times as long as foreseen waits have been: the mean, and the mean distance from it. A busy processor makes all runs
// of a queue later than the fit of one run says.
type doubt struct{ mean, deviation float64 }

// firstDoubt is what is thought before anything was seen.
var firstDoubt = doubt{mean: 1, deviation: 1. / 16}

// mostDoubt is how many times as long as foreseen a wait counts at most.
const mostDoubt = 4

func (d *doubt) observe(foreseen, waited time.Duration) {
	times := min(float64(waited)/float64(foreseen), mostDoubt)
	d.deviation += (math.Abs(times-d.mean) - d.deviation) / costMemory
	d.mean += (times - d.mean) / costMemory
}

// of is how long a wait may take that was foreseen.
func (d *doubt) of(foreseen time.Duration) time.Duration {
	return time.Duration(min(max(1, d.mean+4*d.deviation), mostDoubt) * float64(foreseen))
}
