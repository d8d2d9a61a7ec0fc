package transfer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/featurestore/training/table"
)

// csvRows reads CSV whose first line names the columns. An empty cell is null.
type csvRows struct {
	file    *os.File
	bounded *bounded
	rows    *csv.Reader
	header  []string
	what    []int
	fields  []featurestore.Field
	cells   *stream.Cells
	origins *origins
	row     []byte // its cells, one after the other
}

func openCSV(f *File) (rows, error) {
	file, err := os.Open(f.Name)
	if err != nil {
		return nil, err
	}
	r := &csvRows{file: file, bounded: &bounded{from: file}, fields: f.source.Fields, cells: stream.NewCells(), origins: f.origins()}
	if err := r.readHeader(f.source); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

func (r *csvRows) readHeader(source *featurestore.Source) error {
	r.bounded.left = rowBytes
	buffered := bufio.NewReaderSize(r.bounded, readBytes)
	mark := []byte("\ufeff") // spreadsheets put a byte order mark before the text
	if start, err := buffered.Peek(len(mark)); err == nil && bytes.Equal(start, mark) {
		_, _ = buffered.Discard(len(mark)) // it is in the buffer
	}
	r.rows = csv.NewReader(buffered)
	header, err := r.rows.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty: the first line of a CSV names the columns")
	}
	if err != nil {
		return err
	}
	r.header = header
	r.rows.ReuseRecord = true
	r.what, err = layoutOf(source, header)
	return err
}

// next implements rows.
func (r *csvRows) next(e *featurestore.Event) error {
	r.bounded.left = rowBytes
	row, err := r.rows.Read()
	if errors.Is(err, csv.ErrFieldCount) {
		return fmt.Errorf("it has %d fields, and the first line names %d columns", len(row), len(r.header))
	}
	if err != nil {
		return err
	}
	r.row = r.row[:0]
	for i, cell := range row {
		start := len(r.row)
		r.row = append(r.row, cell...)
		if err := r.read(e, r.what[i], r.row[start:]); err != nil {
			return inColumn(r.header[i], err)
		}
	}
	return nil
}

func (r *csvRows) read(e *featurestore.Event, what int, cell []byte) (err error) {
	switch {
	case what == isEventTime && len(cell) == 0:
		return errNoTime
	case len(cell) == 0 || what == isIgnored:
		return nil
	case what == isEventTime:
		e.Time, err = timeOf(cell)
	case what == isRecordTime:
		e.RecordTime, err = timeOf(cell)
	case what == isDeleted:
		if string(cell) != "false" {
			return errTombstone
		}
	case what == isTopic:
		return r.origins.check(cell)
	default:
		e.Values[what], err = r.cells.Text(&r.fields[what], cell)
	}
	return err
}

func timeOf(cell []byte) (int64, error) {
	us, err := table.ParseTime(string(cell))
	if err != nil {
		return 0, fmt.Errorf("cannot be read: %w", err)
	}
	return us, nil
}

// close implements rows.
func (r *csvRows) close() error { return r.file.Close() }

// A row has at most so many bytes; the file is read in pieces.
const (
	rowBytes  = 16 << 20
	readBytes = 1 << 20
)

// bounded reads so many bytes at most: a quote that is not closed makes a row of all that
// comes after it.
type bounded struct {
	from io.Reader
	left int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("it has more than %d MiB: is a quote not closed?", rowBytes>>20)
	}
	n, err := b.from.Read(p)
	b.left -= n
	return n, err
}
