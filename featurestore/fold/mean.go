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
		count := columns[0].sumInts(lo, n)
		switch {
		case count == 0:
			setNull(cell, featurestore.Null)
		case o.typ == featurestore.Int64:
			setFinite(cell, sumWides(columns[1], lo, n).float()/float64(count))
		default:
			setFinite(cell, sumFloats(columns[1], columns[2], lo, n)/float64(count))
		}
	},
}
