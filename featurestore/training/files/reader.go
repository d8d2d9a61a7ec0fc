package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// batchRows is how many rows are read at a time.
const batchRows = 8192

// Reader reads a table. It is a [array.RecordReader] whose errors name the file, and it is
// not safe for concurrent use.
type Reader struct {
	array.RecordReader
	name   string
	rows   int64 // that there are, -1 when that is not known
	read   int64
	err    error
	closes []func() error // in order
}

// Open opens a table by its name, [Std] for CSV on stdin. typed are the types of columns
// where the format has none: a value of a CSV that is not of its column's type is an error
// that names row and column; the types of other columns are found by reading them all,
// until ctx ends. The caller closes the reader.
func Open(ctx context.Context, name string, stdin io.Reader, typed map[string]arrow.DataType) (*Reader, error) {
	f, err := formatOf(name)
	if err != nil {
		return nil, err
	}
	file, err := source(name, stdin)
	if err != nil {
		return nil, err
	}
	r := &Reader{name: name, rows: -1, closes: []func() error{file.Close}}
	if err := r.open(ctx, f, file, typed); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", r.shown(), err), r.Close())
	}
	return r, nil
}

// Stream reads an Arrow IPC stream, which must have its end; name is what errors call it.
func Stream(name string, from io.Reader) (*Reader, error) {
	r := &Reader{name: name, rows: -1}
	err := func() (err error) {
		defer recovered(&err)
		r.RecordReader, err = openStream(from)
		return err
	}()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, nil
}

// source is a file that can be read twice.
func source(name string, stdin io.Reader) (*os.File, error) {
	if name != Std {
		return os.Open(name) //nolint:gosec // the user names it
	}
	file, err := temporary()
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(file, stdin); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keeping the standard input in a temporary file: %w", err), file.Close())
	}
	return file, nil
}

// temporary is a file that nobody else sees, and that is gone when it is closed or the
// process ends.
func temporary() (*os.File, error) {
	file, err := os.CreateTemp("", "onehop-*")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("making a temporary file: %w", err), file.Close())
	}
	return file, nil
}

func (r *Reader) open(ctx context.Context, f format, file *os.File, typed map[string]arrow.DataType) (err error) {
	defer recovered(&err)
	switch f {
	case csvFormat:
		r.RecordReader, r.rows, err = openCSV(ctx, file, typed)
	case parquetFormat:
		r.RecordReader, r.rows, err = openParquet(ctx, file, r)
	case arrowFormat:
		r.RecordReader, err = openArrow(file, r)
	case streamFormat:
		r.RecordReader, err = openStream(file)
	}
	return err
}

// recovered makes an error of a panic: libraries meet damaged files with either.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = errors.Join(*err, fmt.Errorf("the file is damaged: %v", p))
	}
}

func (r *Reader) shown() string {
	if r.name == Std {
		return "the standard input"
	}
	return r.name
}

// Rows is how many rows there are, 0 when that is not known.
func (r *Reader) Rows() int64 { return max(0, r.rows) }

// Next implements [array.RecordReader].
func (r *Reader) Next() (ok bool) {
	if r.err != nil {
		return false
	}
	ok, err := r.next()
	if err != nil {
		r.err = fmt.Errorf("reading %s: %w", r.shown(), err)
		return false
	}
	return ok
}

func (r *Reader) next() (ok bool, err error) {
	defer recovered(&err)
	ok = r.RecordReader.Next()
	if ok {
		r.read += r.RecordReader.RecordBatch().NumRows()
		return true, nil
	}
	if err := r.RecordReader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if r.rows >= 0 && r.read != r.rows {
		return false, fmt.Errorf("the file is damaged: it has %d rows, and says that there are %d", r.read, r.rows)
	}
	return false, nil
}

// Err implements [array.RecordReader].
func (r *Reader) Err() error { return r.err }

// Close releases what is held and closes the file.
func (r *Reader) Close() error {
	if r.RecordReader != nil {
		r.Release()
		r.RecordReader = nil
	}
	var problems []error
	for _, closeOne := range r.closes {
		problems = append(problems, closeOne())
	}
	r.closes = nil
	return errors.Join(problems...)
}
