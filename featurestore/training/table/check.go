package table

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Check refuses a batch that is not of its schema, or in which something points to where
// nothing is: it comes from a file or from another process, and to read it would end this
// one. The chunks of a spine are checked.
func Check(schema *arrow.Schema, batch arrow.RecordBatch) (err error) {
	defer func() {
		if p := recover(); p != nil { // the library's checks meet damage with either
			err = invalid("a batch is damaged: %v", p)
		}
	}()
	if n := schema.NumFields(); int(batch.NumCols()) != n {
		return invalid("a batch has %d columns, its schema %d", batch.NumCols(), n)
	}
	for i, col := range batch.Columns() {
		f := schema.Field(i)
		if !arrow.TypeEqual(col.DataType(), f.Type) {
			return invalid("column %q is %s in a batch and %s in the schema", f.Name, col.DataType(), f.Type)
		}
		if f.Type.ID() == arrow.NULL {
			continue // it has no buffers to look at
		}
		if err := array.ValidateFull(col); err != nil {
			return invalid("column %q is damaged: %v", f.Name, err)
		}
	}
	return nil
}
