package files

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// Spool writes a table to a temporary file that nobody else sees, and reads it from there:
// the table then needs neither memory nor the one who gave it. progress, if set, is told of
// the rows so far. The caller closes the reader.
func Spool(from array.RecordReader, progress func(rows int)) (*Reader, error) {
	file, err := temporary()
	if err != nil {
		return nil, err
	}
	r := &Reader{name: "a temporary file", closes: []func() error{file.Close}}
	if err := r.spool(file, from, progress); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) spool(file *os.File, from array.RecordReader, progress func(rows int)) error {
	out := bufio.NewWriterSize(file, 1<<20)
	w := ipc.NewWriter(out, ipc.WithSchema(from.Schema()), ipc.WithLZ4())
	for from.Next() {
		if err := w.Write(from.RecordBatch()); err != nil {
			return fmt.Errorf("keeping the rows in a temporary file: %w", err)
		}
		r.rows += from.RecordBatch().NumRows()
		if progress != nil {
			progress(int(r.rows))
		}
	}
	if err := from.Err(); err != nil {
		return err
	}
	if err := errors.Join(w.Close(), out.Flush()); err != nil {
		return fmt.Errorf("keeping the rows in a temporary file: %w", err)
	}
	_, err := file.Seek(0, io.SeekStart)
	if err == nil {
		r.RecordReader, err = openStream(bufio.NewReaderSize(file, 1<<20))
	}
	if err != nil {
		return fmt.Errorf("reading the rows from a temporary file: %w", err)
	}
	return nil
}
