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
	cell    []byte
}

func openCSV(name string, source *featurestore.Source) (rows, error) {
	file, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, err
	}
	r := &csvRows{file: file, bounded: &bounded{from: file}, fields: source.Fields, cells: stream.NewCells()}
	if err := r.readHeader(source); err != nil {
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
	if err != nil {
		return err
	}
	for i, cell := range row {
		if err := r.read(e, r.what[i], cell); err != nil {
			return inColumn(r.header[i], err)
		}
	}
	return nil
}

func (r *csvRows) read(e *featurestore.Event, what int, cell string) (err error) {
	switch {
	case what == isEventTime && cell == "":
		return errNoTime
	case cell == "" || what == isIgnored:
		return nil
	case what == isEventTime:
		e.Time, err = timeOf(cell)
	case what == isRecordTime:
		e.RecordTime, err = timeOf(cell)
	case what == isDeleted:
		if cell != "false" {
			return errTombstone
		}
	default:
		r.cell = append(r.cell[:0], cell...)
		e.Values[what], err = r.cells.Text(&r.fields[what], r.cell)
	}
	return err
}

func timeOf(cell string) (int64, error) {
	us, err := table.ParseTime(cell)
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
