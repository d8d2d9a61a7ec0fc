package fold

import "github.com/onehop/onehop/featurestore"

// meanAggregate is the sum of a field's values over their number; null when there
// are none.
var meanAggregate = aggregate{
	windows:  required,
	field:    required,
	result:   numberOnly("mean", alwaysFloat),
	partials: sumPartials,
	read: func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
		readMean(o.typ, columns[:], inOrder, lo, n, cell)
	},
}

// inOrder are the places of columns that stand in the order of their partials.
var inOrder = []int{0, 1, 2, 3}

// readMean reads the mean of a field of a type; at says where its columns are.
func readMean(t featurestore.Type, all []column, at []int, lo, n int, cell *featurestore.Cell) {
	count := all[at[0]].sumInts(lo, n)
	switch {
	case count == 0:
		setNull(cell, featurestore.Null)
	case t == featurestore.Int64:
		setFinite(cell, sumWides(&all[at[1]], lo, n).float()/float64(count))
	default:
		setFinite(cell, sumFloats(&all[at[1]], &all[at[2]], lo, n)/float64(count))
	}
}
