package table

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training"
)

var arrowTypes = map[featurestore.Type]arrow.DataType{
	featurestore.Int64: arrow.PrimitiveTypes.Int64, featurestore.Float64: arrow.PrimitiveTypes.Float64,
	featurestore.Bool: arrow.FixedWidthTypes.Boolean, featurestore.String: arrow.BinaryTypes.String,
	featurestore.Bytes: arrow.BinaryTypes.Binary,
}

func arrowType(t featurestore.Type) arrow.DataType {
	if t.IsList() {
		return arrow.ListOf(arrowTypes[t.Elem()])
	}
	return arrowTypes[t]
}

// added are the columns that the table adds to a spine.
func (t *Table) added() []arrow.Field {
	var fields []arrow.Field
	for _, c := range t.join.Plan().Columns {
		name := c.Ref.String()
		fields = append(fields, arrow.Field{Name: name, Type: arrowType(c.Type), Nullable: true})
		if t.options.Statuses {
			fields = append(fields, arrow.Field{Name: name + ".status", Type: arrow.BinaryTypes.String})
		}
		if t.options.EventTimes {
			fields = append(fields, arrow.Field{Name: name + ".event_time", Type: microseconds, Nullable: true})
		}
	}
	return fields
}

// features makes the columns of rows [from, to) of the answer's columns. The caller
// releases them.
func (t *Table) features(columns []training.Column, from, to int) []arrow.Array {
	var arrays []arrow.Array
	mem := t.options.Allocator
	for i := range columns {
		c := &columns[i]
		arrays = append(arrays, values(mem, c, from, to))
		if t.options.Statuses {
			arrays = append(arrays, statuses(mem, c.Status[from:to]))
		}
		if t.options.EventTimes {
			arrays = append(arrays, eventTimes(mem, c.EventTimes[from:to]))
		}
	}
	return arrays
}

func values(mem memory.Allocator, c *training.Column, from, to int) arrow.Array {
	b := array.NewBuilder(mem, arrowType(c.Type))
	defer b.Release()
	b.Reserve(to - from)
	add := adder(b)
	for row := from; row < to; row++ {
		if cell := c.Cell(row); cell.Value.IsNull() {
			b.AppendNull()
		} else {
			add(&cell.Value)
		}
	}
	return b.NewArray()
}

// adder appends values that are not null to a builder.
func adder(b array.Builder) func(v *featurestore.Value) {
	switch b := b.(type) {
	case *array.Int64Builder:
		return func(v *featurestore.Value) { b.Append(v.Int()) }
	case *array.Float64Builder:
		return func(v *featurestore.Value) { b.Append(math.Float64frombits(v.Num)) }
	case *array.BooleanBuilder:
		return func(v *featurestore.Value) { b.Append(v.Bool()) }
	case *array.StringBuilder:
		return func(v *featurestore.Value) { b.BinaryBuilder.Append(v.Bytes) }
	case *array.ListBuilder:
		add := adder(b.ValueBuilder())
		return func(v *featurestore.Value) {
			b.Append(true)
			for i := range v.List {
				add(&v.List[i])
			}
		}
	default:
		bytes, _ := b.(*array.BinaryBuilder) // the last of arrowTypes
		return func(v *featurestore.Value) { bytes.Append(v.Bytes) }
	}
}

func statuses(mem memory.Allocator, list []featurestore.Status) arrow.Array {
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Reserve(len(list))
	for _, s := range list {
		b.Append(s.String())
	}
	return b.NewArray()
}

func eventTimes(mem memory.Allocator, list []int64) arrow.Array {
	b := array.NewTimestampBuilder(mem, microseconds)
	defer b.Release()
	b.Reserve(len(list))
	for _, us := range list {
		if us == 0 {
			b.AppendNull()
		} else {
			b.Append(arrow.Timestamp(us))
		}
	}
	return b.NewArray()
}
