package fold

import "github.com/onehop/onehop/featurestore"

// countAggregate counts events, or with a field its values that are not null. A
// window without any is a present zero: the entity is known.
var countAggregate = aggregate{
	windows:  required,
	field:    optional,
	result:   func(featurestore.Type) (featurestore.Type, error) { return featurestore.Int64, nil },
	partials: func(featurestore.Type) []partialKind { return []partialKind{countPartial} },
	read: func(_ *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
		setInt(cell, columns[0].sumInts(lo, n))
	},
}
