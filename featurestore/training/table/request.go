package table

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// fieldColumn finds the spine's column of a request field.
func fieldColumn(spine *arrow.Schema, columns map[string]int, field *plan.RequestField) (column, error) {
	i, ok := columns[field.Name]
	if !ok {
		return column{}, invalid("the spine has no column %q, a request field from which feature %q is computed: add it, or rename the one that holds it", field.Name, field.For)
	}
	if typ := spine.Field(i).Type; !canBeField(typ, field.Type) {
		return column{}, invalid("column %q is %s; the request field from which feature %q is computed is %s", field.Name, typ, field.For, field.Type)
	}
	return column{index: i, name: field.Name, key: field.Type}, nil
}

func canBeField(typ arrow.DataType, field featurestore.Type) bool {
	if typ.ID() == arrow.NULL { // of a column without a value: it says nothing
		return true
	}
	switch field {
	case featurestore.Float64:
		return typ.ID() == arrow.FLOAT32 || typ.ID() == arrow.FLOAT64 || canBeKey(typ, featurestore.Int64)
	case featurestore.Bool:
		return typ.ID() == arrow.BOOL
	default:
		return canBeKey(typ, field)
	}
}

// setField stores the cells of a batch in a column from a row on; first is the batch's first
// row in the spine. A null cell is a null.
func setField(dst *training.Column, from int, col arrow.Array, first int64) error {
	if col.DataType().ID() == arrow.NULL {
		for i := range col.Len() {
			dst.Set(uint32(from+i), &featurestore.Cell{Status: featurestore.Null})
		}
		return nil
	}
	value, err := fieldReader(dst, col, first)
	if err != nil {
		return err
	}
	for i := range col.Len() {
		cell := featurestore.Cell{Status: featurestore.Null}
		if !col.IsNull(i) {
			cell = featurestore.Cell{Value: value(i), Status: featurestore.Present}
			if f := cell.Value.Float(); dst.Type == featurestore.Float64 && (math.IsNaN(f) || math.IsInf(f, 0)) {
				return cellError(first+int64(i), dst.Ref.Column, "the number is not finite; a row without one has null there")
			}
		}
		dst.Set(uint32(from+i), &cell)
	}
	return nil
}

// fieldReader reads cells that are not null.
func fieldReader(dst *training.Column, col arrow.Array, first int64) (func(i int) featurestore.Value, error) {
	name := dst.Ref.Column
	switch col := col.(type) {
	case *array.Boolean:
		return func(i int) featurestore.Value { return featurestore.BoolValue(col.Value(i)) }, nil
	case *array.Float64:
		return func(i int) featurestore.Value { return featurestore.FloatValue(col.Value(i)) }, nil
	case *array.Float32:
		return func(i int) featurestore.Value { return featurestore.FloatValue(float64(col.Value(i))) }, nil
	}
	if dst.Type == featurestore.String {
		texts, err := textReader(col, name)
		return func(i int) featurestore.Value { return featurestore.StringValue(texts(i)) }, err
	}
	ints, err := appendInts(nil, col, name, first)
	if dst.Type == featurestore.Float64 {
		return func(i int) featurestore.Value { return featurestore.FloatValue(float64(ints[i])) }, err
	}
	return func(i int) featurestore.Value { return featurestore.IntValue(ints[i]) }, err
}

// textReader reads cells of text, of a dictionary or plain, that are not null.
func textReader(col arrow.Array, name string) (func(i int) string, error) {
	at := func(i int) int { return i }
	if dictionary, ok := col.(*array.Dictionary); ok {
		at, col = dictionary.GetValueIndex, dictionary.Dictionary()
	}
	texts, ok := col.(interface{ Value(i int) string })
	if !ok {
		return nil, fmt.Errorf("column %q: %w", name, errType)
	}
	return func(i int) string { return texts.Value(at(i)) }, nil
}
