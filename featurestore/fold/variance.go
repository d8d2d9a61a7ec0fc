package fold

import (
	"math"

	"github.com/onehop/onehop/featurestore"
)

// varAggregate and stddevAggregate are the variance and the standard deviation of a
// field's values: of a sample, divided by n−1 and null for fewer than two values, or of
// the population, divided by n and null for none.
//
// Every tile keeps the sum of squared deviations from its own mean, folded as by B. P.
// Welford ("Note on a method for calculating corrected sums of squares and products",
// Technometrics 4, 1962); tiles are merged as by Chan, Golub and LeVeque ("Updating
// formulae and a pairwise algorithm for computing sample variances", 1979). Neither
// subtracts large squares from each other, so that close values far from zero keep their
// variance.
var (
	varAggregate = aggregate{
		windows:  required,
		field:    required,
		takes:    takesOf,
		result:   numberOnly("var", alwaysFloat),
		partials: variancePartials,
		read: func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
			readVariance(o, &columns, lo, n, cell, func(v float64) float64 { return v })
		},
	}
	stddevAggregate = aggregate{
		windows:  required,
		field:    required,
		takes:    takesOf,
		result:   numberOnly("stddev", alwaysFloat),
		partials: variancePartials,
		read: func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
			readVariance(o, &columns, lo, n, cell, math.Sqrt)
		},
	}
)

// variancePartials are a count, a sum and the squared deviations, whatever the type of the
// field; of floats also what rounding lost of the sum.
func variancePartials(t featurestore.Type) []partialKind {
	if t == featurestore.Int64 {
		return []partialKind{countPartial, intSumPartial, squaresPartial}
	}
	return []partialKind{countPartial, floatSumPartial, floatLostPartial, squaresPartial}
}

func readVariance(o *output, columns *columnSet, lo, n int, cell *featurestore.Cell, of func(float64) float64) {
	var all moments
	for i := lo; i < n; i++ {
		count := columns[0].int(i)
		if count == 0 {
			continue
		}
		sum, squares := columns[1].float(i)+columns[2].float(i), &columns[3]
		if o.typ == featurestore.Int64 {
			sum, squares = columns[1].wide(i).float(), &columns[2]
		}
		all.merge(moments{n: float64(count), mean: sum / float64(count), squares: squares.float(i)})
	}
	degrees := all.n
	if o.feature.Of == featurestore.Sample {
		degrees--
	}
	if degrees <= 0 {
		setNull(cell, featurestore.Null)
		return
	}
	setFinite(cell, of(all.squares/degrees))
}

// moments are a count, a mean and the sum of the squared deviations from it.
type moments struct{ n, mean, squares float64 }

func (m *moments) merge(w moments) {
	n := m.n + w.n
	d := w.mean - m.mean
	m.squares += w.squares + d*d*(m.n*w.n/n)
	m.mean += d * (w.n / n)
	m.n = n
}

// squares keeps the sum of squared deviations from a tile's mean. The count and the sum
// stand before it and have the value already when it is folded.
type squares struct {
	cells[float64]
	count *counts
	mean  func(i int) float64
}

func (c *squares) fold(i int, v *featurestore.Value) {
	n := float64(c.count.tiles[i])
	if v.IsNull() || n < 2 {
		return
	}
	x, _ := v.Number()
	// x − mean before = (x − mean now)·n/(n−1)
	d := x - c.mean(i)
	c.tiles[i] += d * d * (n / (n - 1))
}

func (c *squares) append(dst []byte) []byte { return appendFloats(dst, c.tiles) }
func (c *squares) decode(src []byte, n int) ([]byte, error) {
	return c.load(src, n, column.float)
}
func (c *squares) inspect(i int) featurestore.Value { return featurestore.FloatValue(c.tiles[i]) }
