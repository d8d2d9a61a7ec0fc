package materialize

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/featurestore/training/table"
)

// encoder makes records of the rows of Arrow batches. It checks them as records are checked, so
// that ingest accepts what it makes.
type encoder struct {
	source *featurestore.Source
	entity *featurestore.Entity // of the source's first view, whose key is the record's; nil for none
	join   []int                // the fields of its join keys
	cells  *stream.Cells

	columns []int // of the fields; -1 for none
	at      int   // the column of event times
	read    []table.CellReader
	times   table.CellReader
	batch   arrow.RecordBatch
	values  []featurestore.Value // of the row
}

func newEncoder(catalog *featurestore.Catalog, source *featurestore.Source) *encoder {
	e := &encoder{source: source, cells: stream.NewCells(), values: make([]featurestore.Value, len(source.Fields))}
	if views := catalog.ViewsOf(source.Name); len(views) > 0 {
		e.entity = catalog.Entity(views[0].Entity)
		for _, field := range views[0].JoinFields {
			e.join = append(e.join, source.Field(field))
		}
	}
	return e
}

// bind finds the columns, and checks their types.
func (e *encoder) bind(schema *arrow.Schema) error {
	var names []string
	for _, f := range schema.Fields() {
		if slices.Contains(names, f.Name) {
			return fmt.Errorf("there are two columns %q: rename one", f.Name)
		}
		names = append(names, f.Name)
	}
	if e.at = slices.Index(names, e.source.TimeField); e.at < 0 {
		return fmt.Errorf("there is no column %q, the event time; there are %s", e.source.TimeField, strings.Join(names, ", "))
	}
	e.columns = e.columns[:0]
	for i := range e.source.Fields {
		at := slices.Index(names, e.source.Fields[i].Name)
		if at < 0 && e.source.Fields[i].Default == nil {
			return fmt.Errorf("there is no column %q, which is a field; there are %s", e.source.Fields[i].Name, strings.Join(names, ", "))
		}
		e.columns = append(e.columns, at)
	}
	// What columns are read by is known from the types alone.
	empty := make([]arrow.Array, len(names))
	for i, f := range schema.Fields() {
		empty[i] = array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
		defer empty[i].Release()
	}
	return e.readers(names, empty)
}

// open begins a batch of the schema that is bound.
func (e *encoder) open(schema *arrow.Schema, batch arrow.RecordBatch) error {
	if err := table.Check(schema, batch); err != nil {
		return err
	}
	e.batch = batch
	names := make([]string, batch.NumCols())
	for i := range names {
		names[i] = batch.ColumnName(i)
	}
	return e.readers(names, batch.Columns())
}

func (e *encoder) readers(names []string, columns []arrow.Array) (err error) {
	if e.times, err = table.TimeCells(columns[e.at]); err != nil {
		return inColumn(names[e.at], err)
	}
	e.read = e.read[:0]
	for i, at := range e.columns {
		var read table.CellReader
		if at >= 0 {
			if read, err = e.reader(&e.source.Fields[i], columns[at]); err != nil {
				return inColumn(names[at], err)
			}
		}
		e.read = append(e.read, read)
	}
	return nil
}

// reader reads the cells of a column. A list may be JSON in a column of text: neither CSV nor
// what Postgres sends has others.
func (e *encoder) reader(f *featurestore.Field, column arrow.Array) (table.CellReader, error) {
	texts, isText := column.(interface{ Value(i int) string })
	if !f.Type.IsList() || !isText {
		return table.Cells(f.Type, column)
	}
	return func(row int) (featurestore.Value, error) { return e.cells.Text(f, []byte(texts.Value(row))) }, nil
}

// maxTime is the first time, in microseconds, that no row may have: seconds taken for milliseconds come
// long before, nanoseconds for microseconds after it.
var maxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// time is the event time of a row, in microseconds.
func (e *encoder) time(row int) (int64, error) {
	if e.batch.Column(e.at).IsNull(row) {
		return 0, inColumn(e.source.TimeField, errors.New("has no value: every row needs its event time"))
	}
	v, err := e.times(row)
	if us := v.Int(); err == nil && (us <= 0 || us >= maxTime) {
		err = fmt.Errorf("is %s, which is not between 1970 and 2200: is the unit right?", featurestore.FormatTime(us))
	}
	if err != nil {
		return 0, inColumn(e.source.TimeField, err)
	}
	return v.Int(), nil
}

// row makes the record of a row. It shares no memory with the batch.
func (e *encoder) row(row int) (r stream.Row, err error) {
	if r.Time, err = e.time(row); err != nil {
		return r, err
	}
	for i := range e.values {
		f := &e.source.Fields[i]
		if e.values[i], err = e.value(i, row); err != nil {
			return r, inColumn(f.Name, err)
		}
	}
	if r.Value, err = e.json(r.Time); err != nil {
		return r, err
	}
	if n := len(r.Value); n > featurestore.MaxEventBytes {
		return r, fmt.Errorf("it has %d bytes; at most %d are allowed", n, featurestore.MaxEventBytes)
	}
	if e.entity == nil {
		return r, nil
	}
	parts := make([]featurestore.Value, len(e.join))
	for i, field := range e.join {
		parts[i] = e.values[field]
	}
	r.Key, err = e.entity.AppendKey(nil, parts)
	return r, err
}

// value is the value of a field in a row. What is null is filled in when the record is read.
func (e *encoder) value(field, row int) (v featurestore.Value, err error) {
	f := &e.source.Fields[field]
	if at := e.columns[field]; at < 0 || e.batch.Column(at).IsNull(row) {
		if f.Required {
			err = errors.New("has no value, and the field is required")
		}
		return v, err
	}
	if v, err = e.read[field](row); err != nil {
		return v, err
	}
	return v, e.cells.Check(f, &v)
}

// name names a row by what people know it by.
func (e *encoder) name(row int) string {
	var parts []string
	for _, field := range e.join {
		if v, err := e.value(field, row); err == nil {
			parts = append(parts, e.source.Fields[field].Name+" "+shown(v))
		}
	}
	if us, err := e.time(row); err == nil {
		parts = append(parts, e.source.TimeField+" "+featurestore.FormatTime(us))
	}
	if len(parts) == 0 {
		return "a row"
	}
	return "the row of " + strings.Join(parts, ", ")
}

func shown(v featurestore.Value) string {
	if v.Type == featurestore.Int64 {
		return strconv.FormatInt(v.Int(), 10)
	}
	return strconv.Quote(string(v.Bytes[:min(len(v.Bytes), 60)]))
}

func inColumn(name string, err error) error { return fmt.Errorf("column %q %w", name, err) }
