package files

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowcsv "github.com/apache/arrow-go/v18/arrow/csv"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func newCSV(w *output, schema *arrow.Schema) (_ batchWriter, err error) {
	defer func() {
		if p := recover(); p != nil { // the library's way to say that it cannot
			err = fmt.Errorf("a column cannot be CSV: %v", p)
		}
	}()
	writer := csvWriter{arrowcsv.NewWriter(w, schema, arrowcsv.WithHeader(true), arrowcsv.WithNullWriter(""), arrowcsv.WithCustomTypeConverter(texts))}
	var columns []arrow.Array
	for _, f := range schema.Fields() {
		column := array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
		defer column.Release()
		columns = append(columns, column)
	}
	none := array.NewRecordBatch(schema, columns, 0)
	defer none.Release()
	return writer, writer.Write(none) // the header, which a table without rows has too
}

type csvWriter struct{ *arrowcsv.Writer }

func (w csvWriter) Close() error { return w.Flush() }

// texts writes what the library writes otherwise or not at all: times as RFC 3339, and
// lists and other nested values as JSON.
func texts(typ arrow.DataType, col arrow.Array) (result []string, handled bool) {
	var write func(i int) string
	switch typ := typ.(type) {
	case *arrow.TimestampType:
		times, ok := col.(*array.Timestamp)
		layout := time.RFC3339Nano
		if typ.TimeZone == "" {
			layout = "2006-01-02T15:04:05.999999999"
		}
		if !ok {
			return nil, false
		}
		write = func(i int) string { return times.Value(i).ToTime(typ.Unit).UTC().Format(layout) }
	case arrow.NestedType, *arrow.DictionaryType, arrow.BinaryViewDataType, *arrow.Time32Type, *arrow.Time64Type,
		*arrow.DurationType, *arrow.MonthIntervalType, *arrow.DayTimeIntervalType, *arrow.MonthDayNanoIntervalType:
		write = col.ValueStr
	default:
		return nil, false
	}
	result = make([]string, col.Len())
	for i := range result {
		if col.IsValid(i) {
			result[i] = write(i)
		}
	}
	return result, true
}
