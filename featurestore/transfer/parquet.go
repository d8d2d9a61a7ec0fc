package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/training/table"
)

// parquetRows reads Parquet.
type parquetRows struct {
	file   *files.Reader
	what   []int
	fields []featurestore.Field
	cells  *stream.Cells
	read   []reader // of the columns of the batch
	at, n  int      // the row of the batch, and how many it has
}

// reader reads a cell that is not null.
type reader func(row int) (featurestore.Value, error)

func openParquet(ctx context.Context, name string, source *featurestore.Source) (rows, error) {
	file, err := files.Open(ctx, name, nil, nil)
	if err != nil {
		return nil, err
	}
	r := &parquetRows{file: file, fields: source.Fields, cells: stream.NewCells()}
	if err := r.readHeader(source); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

func (r *parquetRows) readHeader(source *featurestore.Source) (err error) {
	var header []string
	for _, f := range r.file.Schema().Fields() {
		header = append(header, f.Name)
	}
	if r.what, err = layoutOf(source, header); err != nil {
		return err
	}
	for i, f := range r.file.Schema().Fields() {
		// What its columns are read by is known from the types alone.
		empty := array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0)
		_, err := r.readerOf(r.what[i], empty)
		empty.Release()
		if err != nil {
			return inColumn(f.Name, err)
		}
	}
	return nil
}

// next implements rows.
func (r *parquetRows) next(e *featurestore.Event) error {
	for r.at == r.n {
		if err := r.nextBatch(); err != nil {
			return err
		}
	}
	batch := r.file.RecordBatch()
	for i, what := range r.what {
		if what == isIgnored {
			continue
		}
		if batch.Column(i).IsNull(r.at) {
			if what == isEventTime {
				return inColumn(eventTime, errNoTime)
			}
			continue
		}
		if err := r.cell(e, what, r.read[i]); err != nil {
			return inColumn(batch.ColumnName(i), err)
		}
	}
	r.at++
	return nil
}

func (r *parquetRows) cell(e *featurestore.Event, what int, read reader) error {
	v, err := read(r.at)
	switch {
	case err != nil:
		return err
	case what == isEventTime:
		e.Time = v.Int()
	case what == isRecordTime:
		e.RecordTime = v.Int()
	case what == isDeleted:
		if v.Bool() {
			return errTombstone
		}
	default:
		e.Values[what] = v.Clone()
		return r.cells.Check(&r.fields[what], &v)
	}
	return nil
}

func (r *parquetRows) nextBatch() error {
	if !r.file.Next() {
		if err := r.file.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	batch := r.file.RecordBatch()
	if err := table.Check(r.file.Schema(), batch); err != nil {
		return err
	}
	r.at, r.n, r.read = 0, int(batch.NumRows()), r.read[:0]
	for i, what := range r.what {
		read, err := r.readerOf(what, batch.Column(i))
		if err != nil {
			return inColumn(batch.ColumnName(i), err)
		}
		r.read = append(r.read, read)
	}
	return nil
}

// close implements rows.
func (r *parquetRows) close() error { return r.file.Close() }

// readerOf reads the cells of a column.
func (r *parquetRows) readerOf(what int, col arrow.Array) (read reader, err error) {
	switch what {
	case isIgnored:
		return nil, nil //nolint:nilnil // there is nothing to read
	case isEventTime, isRecordTime:
		return timeReader(col)
	case isDeleted:
		return valueReader(featurestore.Bool, col)
	default:
		return valueReader(r.fields[what].Type, col)
	}
}

func timeReader(col arrow.Array) (reader, error) {
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

// valueReader reads the cells of a column as a type that loses nothing.
func valueReader(t featurestore.Type, col arrow.Array) (reader, error) {
	if t.IsList() {
		return listReader(t, col)
	}
	if d, ok := col.(*array.Dictionary); ok {
		read, err := valueReader(t, d.Dictionary())
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

func listReader(t featurestore.Type, col arrow.Array) (reader, error) {
	lists, ok := col.(array.ListLike)
	if !ok {
		return nil, fmt.Errorf("is %s; the field is %s", col.DataType(), t)
	}
	elements := lists.ListValues()
	read, err := valueReader(t.Elem(), elements)
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
func intReader(col arrow.Array) reader {
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
func floatReader(col arrow.Array, ints reader) reader {
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
