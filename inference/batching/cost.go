package batching

import (
	"math"
	"time"

	"github.com/onehop/onehop/internal/fit"
)

// cost is the time of a run by its rows.
type cost struct{ fit.Line }

// runs is how long rows take that need several runs.
func (c *cost) runs(rows, runs int) time.Duration {
	return time.Duration((c.PerUnit*float64(rows) + c.Fixed*float64(runs)) * float64(time.Second))
}

// worth is the number of rows, up to most, of which the fixed cost of a run is a fifth of the whole.
func (c *cost) worth(most int) int {
	if 4*c.Fixed >= c.PerUnit*float64(most) {
		return most
	}
	return int(4 * c.Fixed / c.PerUnit)
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
	d.deviation += (math.Abs(times-d.mean) - d.deviation) / fit.Memory
	d.mean += (times - d.mean) / fit.Memory
}

// of is how long a wait may take that was foreseen.
func (d *doubt) of(foreseen time.Duration) time.Duration {
	return time.Duration(min(max(1, d.mean+4*d.deviation), mostDoubt) * float64(foreseen))
}
