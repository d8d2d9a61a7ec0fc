package table

import (
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore"
)

// CellReader reads a cell that is not null, by the number of its row. Errors continue a sentence
// about the cell.
type CellReader func(row int) (featurestore.Value, error)

// TimeCells reads the cells of a column of timestamps, in microseconds: what is finer is cut off.
// Errors continue a sentence about the column.
func TimeCells(col arrow.Array) (CellReader, error) {
	times, ok := col.(*array.Timestamp)
	typ, _ := col.DataType().(*arrow.TimestampType)
	switch {
	case !ok:
		return nil, fmt.Errorf("is %s; a timestamp with a time zone is needed", col.DataType())
	case typ.TimeZone == "":
		return nil, errors.New("is a timestamp without a time zone, so it may mean many moments: give it the zone that it was written in")
	}
	return func(row int) (featurestore.Value, error) {
		return featurestore.IntValue(times.Value(row).ToTime(typ.Unit).UnixMicro()), nil
	}, nil
}

// Cells reads the cells of a column as a type that loses nothing. Errors continue a sentence about
// the column. The values share its memory.
func Cells(t featurestore.Type, col arrow.Array) (CellReader, error) {
	if t.IsList() {
		return listReader(t, col)
	}
	if d, ok := col.(*array.Dictionary); ok {
		read, err := Cells(t, d.Dictionary())
		return func(row int) (featurestore.Value, error) { return read(d.GetValueIndex(row)) }, err
	}
	ints := intReader(col)
	texts, isText := col.(interface{ Value(i int) string })
	raw, isBytes := col.(interface{ Value(i int) []byte })
	bools, isBool := col.(*array.Boolean)
	switch {
	case t == featurestore.Int64 && ints != nil:
		return ints, nil
	case t == featurestore.Float64:
		if read := floatReader(col, ints); read != nil {
			return read, nil
		}
	case t == featurestore.String && isText:
		return func(row int) (featurestore.Value, error) { return featurestore.StringValue(texts.Value(row)), nil }, nil
	case t == featurestore.Bytes && isBytes:
		return func(row int) (featurestore.Value, error) { return featurestore.BytesValue(raw.Value(row)), nil }, nil
	case t == featurestore.Bool && isBool:
		return func(row int) (featurestore.Value, error) { return featurestore.BoolValue(bools.Value(row)), nil }, nil
	}
	return nil, fmt.Errorf("is %s; the field is %s", col.DataType(), t)
}

func listReader(t featurestore.Type, col arrow.Array) (CellReader, error) {
	lists, ok := col.(array.ListLike)
	if !ok {
		return nil, fmt.Errorf("is %s; the field is %s", col.DataType(), t)
	}
	elements := lists.ListValues()
	read, err := Cells(t.Elem(), elements)
	if err != nil {
		return nil, err
	}
	return func(row int) (featurestore.Value, error) {
		from, to := lists.ValueOffsets(row)
		list := make([]featurestore.Value, to-from)
		for i := range list {
			if elements.IsNull(int(from) + i) {
				continue // which the check refuses
			}
			var err error
			if list[i], err = read(int(from) + i); err != nil {
				return featurestore.Value{}, err
			}
		}
		return featurestore.ListValue(t.Elem(), list), nil
	}, nil
}

// intReader reads integers; nil for other columns.
func intReader(col arrow.Array) CellReader {
	switch col := col.(type) {
	case *array.Int64:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(col.Value(row)), nil }
	case *array.Int32:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(int64(col.Value(row))), nil }
	case *array.Int16:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(int64(col.Value(row))), nil }
	case *array.Int8:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(int64(col.Value(row))), nil }
	case *array.Uint32:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(int64(col.Value(row))), nil }
	case *array.Uint16:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(int64(col.Value(row))), nil }
	case *array.Uint8:
		return func(row int) (featurestore.Value, error) { return featurestore.IntValue(int64(col.Value(row))), nil }
	case *array.Uint64:
		return func(row int) (featurestore.Value, error) {
			v := col.Value(row)
			if v > math.MaxInt64 {
				return featurestore.Value{}, fmt.Errorf("is %d, greater than any int64", v)
			}
			return featurestore.IntValue(int64(v)), nil
		}
	default:
		return nil
	}
}

// exactFloat is the greatest integer up to which a float64 has all.
const exactFloat = 1 << 53

// floatReader reads floats, and integers that a float has exactly; nil for other columns.
func floatReader(col arrow.Array, ints CellReader) CellReader {
	switch col := col.(type) {
	case *array.Float64:
		return func(row int) (featurestore.Value, error) { return featurestore.FloatValue(col.Value(row)), nil }
	case *array.Float32:
		return func(row int) (featurestore.Value, error) {
			return featurestore.FloatValue(float64(col.Value(row))), nil
		}
	}
	if ints == nil {
		return nil
	}
	return func(row int) (featurestore.Value, error) {
		v, err := ints(row)
		if n := v.Int(); err == nil && (n > exactFloat || n < -exactFloat) {
			err = fmt.Errorf("is %d, which no float64 has exactly", n)
		}
		return featurestore.FloatValue(float64(v.Int())), err
	}
}
