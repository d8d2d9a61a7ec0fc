package fold

import "github.com/onehop/onehop/featurestore"

// countAggregate counts events, or with a field its values that are not null. A
// window without any is a present zero: the entity is known.
var countAggregate = aggregate{
	windows:  required,
	field:    optional,
	result:   func(featurestore.Type) (featurestore.Type, error) { return featurestore.Int64, nil },
	partials: func(featurestore.Type) []partialKind { return []partialKind{countPartial} },
	read: func(_ featurestore.Type, columns []column, lo, n int) (featurestore.Value, featurestore.Status) {
		return featurestore.IntValue(columns[0].sumInts(lo, n)), featurestore.Present
	},
}
