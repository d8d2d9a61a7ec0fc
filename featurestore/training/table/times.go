package table

import (
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore"
)

// microseconds is the type of times in training sets.
var microseconds = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}

// maxTime is the first moment, in microseconds, that is no time of a row: seconds taken for
// milliseconds come long before, nanoseconds for microseconds after it.
var maxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// ParseTime reads RFC 3339 with a zone, in microseconds since 1970 UTC; what is finer is cut
// off.
func ParseTime(text string) (int64, error) {
	t, err := featurestore.ParseTime(text)
	if err == nil {
		return t.UnixMicro(), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if _, err := time.Parse(layout, text); err == nil {
			return 0, fmt.Errorf("%q has no time zone, so it may mean many moments: write it with its zone, as 2026-01-02T15:04:05Z or 2026-01-02T15:04:05+01:00", text)
		}
	}
	return 0, fmt.Errorf("%q is no time such as 2026-01-02T15:04:05Z", text)
}

// times appends the times of a column to dst; first is the column's first row.
func times(dst []int64, col arrow.Array, name string, first int64) ([]int64, error) {
	at, err := timeReader(col)
	if err != nil {
		return dst, fmt.Errorf("column %q: %w", name, err)
	}
	for i := range col.Len() {
		if col.IsNull(i) {
			return dst, cellError(first+int64(i), name, "there is no time: every row needs one")
		}
		us, err := at(i)
		if err != nil {
			return dst, cellError(first+int64(i), name, "%v", err)
		}
		if us < 0 || us >= maxTime {
			return dst, cellError(first+int64(i), name, "%s is not between 1970 and 2200: is the unit right?", col.ValueStr(i))
		}
		dst = append(dst, us)
	}
	return dst, nil
}

var errType = errors.New("its type is not that of the schema")

// timeReader reads one cell in microseconds.
func timeReader(col arrow.Array) (func(i int) (int64, error), error) {
	switch col := col.(type) {
	case *array.String:
		return func(i int) (int64, error) { return ParseTime(col.Value(i)) }, nil
	case *array.LargeString:
		return func(i int) (int64, error) { return ParseTime(col.Value(i)) }, nil
	case *array.Timestamp:
		typ, ok := col.DataType().(*arrow.TimestampType)
		if !ok {
			return nil, errType
		}
		return func(i int) (int64, error) { return toMicroseconds(int64(col.Value(i)), typ.Unit), nil }, nil
	default:
		return nil, errType
	}
}

// toMicroseconds cuts off what is finer, and what is out of any range stays out of it.
func toMicroseconds(v int64, unit arrow.TimeUnit) int64 {
	perUnit := int64(1) // microseconds
	switch unit {
	case arrow.Second:
		perUnit = 1_000_000
	case arrow.Millisecond:
		perUnit = 1_000
	case arrow.Microsecond:
	case arrow.Nanosecond:
		if v < 0 {
			return -1
		}
		return v / 1_000
	}
	switch {
	case v < 0:
		return max(v, -maxTime/perUnit) * perUnit
	default:
		return min(v, maxTime/perUnit+1) * perUnit
	}
}
