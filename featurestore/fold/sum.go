package fold

import "github.com/onehop/onehop/featurestore"

// sumAggregate adds a field's values. Over integers it is exact and says OVERFLOW
// when the sum does not fit; over floats it is compensated. A window without values
// is null, as in SQL.
var sumAggregate = aggregate{
	windows:  required,
	field:    required,
	result:   numberOnly("sum", sameType),
	partials: sumPartials,
	read: func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
		readSum(o.typ, columns[:], inOrder, lo, n, cell)
	},
}

// readSum reads the sum of a field of a type; at says where its columns are.
func readSum(t featurestore.Type, all []column, at []int, lo, n int, cell *featurestore.Cell) {
	switch {
	case all[at[0]].sumInts(lo, n) == 0:
		setNull(cell, featurestore.Null)
	case t == featurestore.Int64:
		if v, ok := sumWides(&all[at[1]], lo, n).int(); ok {
			setInt(cell, v)
		} else {
			setNull(cell, featurestore.Overflow)
		}
	default:
		setFinite(cell, sumFloats(&all[at[1]], &all[at[2]], lo, n))
	}
}

func sumPartials(t featurestore.Type) []partialKind {
	if t == featurestore.Int64 {
		return []partialKind{countPartial, intSumPartial}
	}
	return []partialKind{countPartial, floatSumPartial, floatLostPartial}
}

func sumWides(sums *column, lo, n int) wide {
	if sums.narrow() {
		return wideOf(sums.sumInts(lo, n))
	}
	var total wide
	for i := lo; i < n; i++ {
		total = total.add(sums.wide(i))
	}
	return total
}

func sumFloats(sums, lost *column, lo, n int) float64 {
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
