package statistics

import (
	"math"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// Summary is what the values of a feature are like. Of texts and lists there are counts
// only; a bool counts as 0 or 1.
type Summary struct {
	// Rows is how many values were looked at, Nulls how many of them were none, for
	// whatever reason.
	Rows  int `json:"rows"`
	Nulls int `json:"nulls"`
	// Distinct is how many different values there were.
	Distinct int `json:"distinct"`
	// Numbers sums up the values of a number; nil without any.
	Numbers *Numbers `json:"numbers,omitempty"`
}

// Numbers sums up numbers.
type Numbers struct {
	Mean float64 `json:"mean"`
	// Deviation is the standard deviation of the values, as of a whole population.
	Deviation float64 `json:"deviation"`
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
	// Quantiles are the values below which there are 1, 25, 50, 75 and 99 % of them, each
	// one of the values (the nearest rank).
	Quantiles [5]float64 `json:"quantiles"`
}

// Levels are the levels of [Numbers.Quantiles].
var Levels = [5]float64{0.01, 0.25, 0.50, 0.75, 0.99}

// Summarize sums up cells of one feature.
func Summarize(cells []featurestore.Cell) Summary {
	s := Summary{Rows: len(cells)}
	different := map[string]struct{}{}
	var numbers []float64
	for i := range cells {
		c := &cells[i]
		if c.Status != featurestore.Present {
			s.Nulls++
			continue
		}
		different[identity(c.Value)] = struct{}{}
		if f, ok := c.Value.Number(); ok && !math.IsNaN(f) {
			numbers = append(numbers, f)
		}
	}
	s.Distinct = len(different)
	if len(numbers) > 0 {
		s.Numbers = sumUp(numbers)
	}
	return s
}

// identity is a text that equal values have, and no others of their type.
func identity(v featurestore.Value) string {
	if v.Type == featurestore.String || v.Type == featurestore.Bytes {
		return string(v.Bytes)
	}
	return v.String()
}

// sumUp sorts numbers and sums them up; there is one at least.
func sumUp(numbers []float64) *Numbers {
	slices.Sort(numbers)
	n := &Numbers{Min: numbers[0], Max: numbers[len(numbers)-1]}
	squares := 0.0
	for i, f := range numbers { // B. P. Welford, Technometrics 4, 1962
		d := f - n.Mean
		n.Mean += d / float64(i+1)
		squares += d * (f - n.Mean)
	}
	n.Deviation = math.Sqrt(squares / float64(len(numbers)))
	for i, q := range Levels {
		n.Quantiles[i] = numbers[rank(len(numbers), q)]
	}
	return n
}

// rank is the index of a quantile among n sorted values: the nearest rank.
func rank(n int, q float64) int { return max(0, int(math.Ceil(q*float64(n)))-1) }
