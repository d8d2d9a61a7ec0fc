package fold

import (
	"math"

	"github.com/onehop/onehop/featurestore"
)

// sumAggregate adds a field's values. Over integers it is exact and says OVERFLOW
// when the sum does not fit; over floats it is compensated. A window without values
// is null, as in SQL.
var sumAggregate = aggregate{
	windows:  required,
	field:    required,
	result:   numberOnly("sum", sameType),
	partials: sumPartials,
	read: func(t featurestore.Type, columns []column, lo, n int) (featurestore.Value, featurestore.Status) {
		switch {
		case columns[0].sumInts(lo, n) == 0:
			return featurestore.Value{}, featurestore.Null
		case t == featurestore.Int64:
			return readIntSum(columns[1], lo, n)
		default:
			return readFloatSum(columns[1], columns[2], lo, n)
		}
	},
}

func sumPartials(t featurestore.Type) []partialKind {
	if t == featurestore.Int64 {
		return []partialKind{countPartial, intSumPartial}
	}
	return []partialKind{countPartial, floatSumPartial, floatLostPartial}
}

func readIntSum(sums column, lo, n int) (featurestore.Value, featurestore.Status) {
	if v, ok := sumWides(sums, lo, n).int(); ok {
		return featurestore.IntValue(v), featurestore.Present
	}
	return featurestore.Value{}, featurestore.Overflow
}

func readFloatSum(sums, lost column, lo, n int) (featurestore.Value, featurestore.Status) {
	v := sumFloats(sums, lost, lo, n)
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return featurestore.Value{}, featurestore.Overflow
	}
	return featurestore.FloatValue(v), featurestore.Present
}

func sumWides(sums column, lo, n int) wide {
	if sums.narrow() {
		return wideOf(sums.sumInts(lo, n))
	}
	var total wide
	for i := lo; i < n; i++ {
		total = total.add(sums.wide(i))
	}
	return total
}

func sumFloats(sums, lost column, lo, n int) float64 {
	if sums.narrow() && lost.enc == encZero {
		return float64(sums.sumInts(lo, n))
	}
	var total compensated
	for i := lo; i < n; i++ {
		total.add(sums.float(i))
	}
	for i := lo; lost.enc != encZero && i < n; i++ {
		total.lost += lost.float(i)
	}
	return total.value()
}
