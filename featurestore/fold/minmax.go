package fold

import "github.com/onehop/onehop/featurestore"

// minAggregate and maxAggregate are the least and the greatest of a field's
// values; null when there are none.
var (
	minAggregate = aggregate{
		windows:  required,
		field:    required,
		result:   numberOnly("min", sameType),
		partials: extremePartials(intMinPartial, floatMinPartial),
		read:     readExtreme(less[int64], less[float64]),
	}
	maxAggregate = aggregate{
		windows:  required,
		field:    required,
		result:   numberOnly("max", sameType),
		partials: extremePartials(intMaxPartial, floatMaxPartial),
		read:     readExtreme(greater[int64], greater[float64]),
	}
)

// extremePartials keeps, beside the extreme, the count that tells an empty tile
// from a zero.
func extremePartials(ints, floats partialKind) func(featurestore.Type) []partialKind {
	return func(t featurestore.Type) []partialKind {
		if t == featurestore.Int64 {
			return []partialKind{countPartial, ints}
		}
		return []partialKind{countPartial, floats}
	}
}

func readExtreme(betterInt func(a, b int64) bool, betterFloat func(a, b float64) bool) func(featurestore.Type, []column, int, int) (featurestore.Value, featurestore.Status) {
	return func(t featurestore.Type, columns []column, lo, n int) (featurestore.Value, featurestore.Status) {
		if t == featurestore.Int64 {
			v, ok := extremeOf(columns, lo, n, column.int, betterInt)
			return presentOrNull(featurestore.IntValue(v), ok)
		}
		v, ok := extremeOf(columns, lo, n, column.float, betterFloat)
		return presentOrNull(featurestore.FloatValue(v), ok)
	}
}

func extremeOf[T any](columns []column, lo, n int, get func(column, int) T, better func(a, b T) bool) (best T, some bool) {
	counts, values := columns[0], columns[1]
	for i := lo; i < n; i++ {
		if counts.int(i) == 0 {
			continue
		}
		if v := get(values, i); !some || better(v, best) {
			best, some = v, true
		}
	}
	return best, some
}

func presentOrNull(v featurestore.Value, some bool) (featurestore.Value, featurestore.Status) {
	if !some {
		return featurestore.Value{}, featurestore.Null
	}
	return v, featurestore.Present
}
