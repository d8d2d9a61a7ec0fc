package transfer

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/onehop/onehop/featurestore"
)

// The columns of exported files that are not fields.
const (
	eventTime  = "event_time"
	recordTime = "record_time"
	deleted    = "deleted"
	topicID    = "topic_id"
)

// origin are the columns before those of the fields.
var origin = []arrow.Field{
	{Name: eventTime, Type: microseconds},
	{Name: recordTime, Type: microseconds},
	{Name: topicID, Type: arrow.BinaryTypes.String},
	{Name: "kafka_partition", Type: arrow.PrimitiveTypes.Int32},
	{Name: "kafka_offset", Type: arrow.PrimitiveTypes.Int64},
	{Name: "event_index", Type: arrow.PrimitiveTypes.Int32},
	{Name: deleted, Type: arrow.FixedWidthTypes.Boolean},
}

// dayColumn is the column that readers make of a directory's name.
const dayColumn = "day"

var microseconds = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}

var arrowTypes = map[featurestore.Type]arrow.DataType{
	featurestore.Int64: arrow.PrimitiveTypes.Int64, featurestore.Float64: arrow.PrimitiveTypes.Float64,
	featurestore.String: arrow.BinaryTypes.String, featurestore.Bytes: arrow.BinaryTypes.Binary,
	featurestore.Bool: arrow.FixedWidthTypes.Boolean,
}

func arrowType(t featurestore.Type) arrow.DataType {
	if t.IsList() {
		return arrow.ListOf(arrowTypes[t.Elem()])
	}
	return arrowTypes[t]
}

// ofOrigin says whether a column is one that exports have beside the fields.
func ofOrigin(name string) bool {
	return name == dayColumn || slices.ContainsFunc(origin, func(f arrow.Field) bool { return f.Name == name })
}

// columnOf is the name of a field's column: its own or, where that is taken, as history has it.
func columnOf(f *featurestore.Field) string {
	if ofOrigin(f.Name) {
		return "f_" + f.Name
	}
	return f.Name
}

// columnsOf are the names of the columns of a source's fields, each its own.
func columnsOf(source *featurestore.Source) []string {
	names := make([]string, len(source.Fields))
	for i := range source.Fields {
		names[i] = columnOf(&source.Fields[i])
		for slices.Contains(names[:i], names[i]) || names[i] != source.Fields[i].Name && source.Field(names[i]) >= 0 {
			names[i] = "f_" + names[i]
		}
	}
	return names
}
