package transfer

import (
	"context"
	"errors"
	"io"

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
	file    *files.Reader
	what    []int
	fields  []featurestore.Field
	cells   *stream.Cells
	origins *origins
	read    []table.CellReader // of the columns of the batch
	at, n   int                // the row of the batch, and how many it has
}

func openParquet(ctx context.Context, f *File) (rows, error) {
	file, err := files.Open(ctx, f.Name, nil, nil)
	if err != nil {
		return nil, err
	}
	r := &parquetRows{file: file, fields: f.source.Fields, cells: stream.NewCells(), origins: f.origins()}
	if err := r.readHeader(f.source); err != nil {
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

func (r *parquetRows) cell(e *featurestore.Event, what int, read table.CellReader) error {
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
	case what == isTopic:
		return r.origins.check(v.Bytes)
	default:
		e.Values[what] = v
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
func (r *parquetRows) readerOf(what int, col arrow.Array) (read table.CellReader, err error) {
	switch what {
	case isIgnored:
		return nil, nil //nolint:nilnil // there is nothing to read
	case isEventTime, isRecordTime:
		return table.TimeCells(col)
	case isDeleted:
		return table.Cells(featurestore.Bool, col)
	case isTopic:
		return table.Cells(featurestore.String, col)
	default:
		return table.Cells(r.fields[what].Type, col)
	}
}
