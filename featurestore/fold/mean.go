package fold

import (
	"math"

	"github.com/onehop/onehop/featurestore"
)

// meanAggregate is the sum of a field's values over their number; null when there
// are none.
var meanAggregate = aggregate{
	windows:  required,
	field:    required,
	result:   numberOnly("mean", func(featurestore.Type) featurestore.Type { return featurestore.Float64 }),
	partials: sumPartials,
	read: func(t featurestore.Type, columns []column, lo, n int) (featurestore.Value, featurestore.Status) {
		count := columns[0].sumInts(lo, n)
		if count == 0 {
			return featurestore.Value{}, featurestore.Null
		}
		var sum float64
		if t == featurestore.Int64 {
			sum = sumWides(columns[1], lo, n).float()
		} else {
			sum = sumFloats(columns[1], columns[2], lo, n)
		}
		if math.IsInf(sum, 0) || math.IsNaN(sum) {
			return featurestore.Value{}, featurestore.Overflow
		}
		return featurestore.FloatValue(sum / float64(count)), featurestore.Present
	},
}
