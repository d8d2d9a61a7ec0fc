package fold

import (
	"bytes"

	"github.com/onehop/onehop/featurestore"
)

// minAggregate and maxAggregate are the least and the greatest of a field's
// values; null when there are none.
var (
	minAggregate = aggregate{
		windows:  required,
		field:    required,
		result:   numberOnly("min", sameType),
		partials: extremePartials(intMinPartial, floatMinPartial),
		read:     readColumns(false),
	}
	maxAggregate = aggregate{
		windows:  required,
		field:    required,
		result:   numberOnly("max", sameType),
		partials: extremePartials(intMaxPartial, floatMaxPartial),
		read:     readColumns(true),
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

func readColumns(greatest bool) func(*output, columnSet, int, int, *featurestore.Cell) {
	return func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
		readExtreme(o.typ, &columns[0], &columns[1], lo, n, greatest, cell)
	}
}

// readExtreme reads the least or greatest value of a field of a type.
func readExtreme(t featurestore.Type, counts, values *column, lo, n int, greatest bool, cell *featurestore.Cell) {
	switch {
	case values.enc <= encInt8: // small integers, of either type
		v, some := smallExtreme(counts, values, lo, n, greatest)
		setExtreme(cell, t, v, float64(v), some)
	case t == featurestore.Int64:
		v, some := intExtreme(counts, values, lo, n, greatest)
		setExtreme(cell, t, v, 0, some)
	default:
		v, some := floatExtreme(counts, values, lo, n, greatest)
		setExtreme(cell, t, 0, v, some)
	}
}

func setExtreme(cell *featurestore.Cell, t featurestore.Type, i int64, f float64, some bool) {
	switch {
	case !some:
		setNull(cell, featurestore.Null)
	case t == featurestore.Int64:
		setInt(cell, i)
	default:
		setFloat(cell, f)
	}
}

func intExtreme(counts, values *column, lo, n int, greatest bool) (best int64, some bool) {
	for i := lo; i < n; i++ {
		if counts.int(i) == 0 {
			continue
		}
		if v := values.int(i); !some || greatest && v > best || !greatest && v < best {
			best, some = v, true
		}
	}
	return best, some
}

func floatExtreme(counts, values *column, lo, n int, greatest bool) (best float64, some bool) {
	for i := lo; i < n; i++ {
		if counts.int(i) == 0 {
			continue
		}
		if v := values.float(i); !some || greatest && v > best || !greatest && v < best {
			best, some = v, true
		}
	}
	return best, some
}

// smallExtreme is the least or greatest of a column of numbers in a byte each, or of
// zeros.
func smallExtreme(counts, values *column, lo, n int, greatest bool) (best int64, some bool) {
	if lo < n && counts.enc == encInt8 && values.enc == encInt8 && bytes.IndexByte(counts.data[lo:n], 0) < 0 {
		return denseExtreme(values.data[lo:n], greatest), true
	}
	for i := lo; i < n; i++ {
		if counts.enc == encInt8 && counts.data[i] == 0 || counts.enc != encInt8 && counts.int(i) == 0 {
			continue
		}
		var v int64
		if values.enc == encInt8 {
			v = int64(int8(values.data[i]))
		}
		if !some || greatest && v > best || !greatest && v < best {
			best, some = v, true
		}
	}
	return best, some
}

// denseExtreme is the least or greatest of signed bytes, of which there is one at least.
func denseExtreme(values []byte, greatest bool) int64 {
	best := int8(values[0])
	if greatest {
		for _, v := range values[1:] {
			best = max(best, int8(v))
		}
		return int64(best)
	}
	for _, v := range values[1:] {
		best = min(best, int8(v))
	}
	return int64(best)
}
