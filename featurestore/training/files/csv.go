package files

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// openCSV reads the file twice: once to find the types and every mistake, and once for its
// values. An empty cell is null.
func openCSV(ctx context.Context, file *os.File, typed map[string]arrow.DataType) (array.RecordReader, int64, error) {
	rows, header, err := newCSVReader(file)
	if err != nil {
		return nil, 0, err
	}
	guesses := newGuesses(header, typed)
	n := int64(0)
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		if n++; n%batchRows == 0 && ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		for i := range guesses {
			if err := guesses[i].see(row[i]); err != nil {
				return nil, 0, fmt.Errorf("row %d, column %q: %w", n, header[i], err)
			}
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	if rows, header, err = newCSVReader(file); err != nil {
		return nil, 0, err
	}
	fields := make([]arrow.Field, len(header))
	for i, name := range header {
		fields[i] = arrow.Field{Name: name, Type: guesses[i].arrowType(), Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	return array.ReaderFromIter(schema, csvBatches(schema, rows)), n, nil
}

// newCSVReader begins to read: the header.
func newCSVReader(file io.Reader) (rows *csv.Reader, header []string, err error) {
	buffered := bufio.NewReaderSize(file, 1<<20)
	mark := []byte("\ufeff") // spreadsheets put a byte order mark before the text
	if start, err := buffered.Peek(len(mark)); err == nil && bytes.Equal(start, mark) {
		_, _ = buffered.Discard(len(mark)) // it is in the buffer
	}
	rows = csv.NewReader(buffered)
	header, err = rows.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, errors.New("it is empty: the first line of a CSV names the columns")
	}
	rows.ReuseRecord = true
	return rows, header, err
}

// csvBatches reads the values.
func csvBatches(schema *arrow.Schema, rows *csv.Reader) func(yield func(arrow.RecordBatch, error) bool) {
	return func(yield func(arrow.RecordBatch, error) bool) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		defer b.Release()
		n, first := 0, int64(0)
		for {
			row, err := rows.Read()
			if err == nil {
				for i, cell := range row {
					if err := appendCell(b.Field(i), cell); err != nil {
						yield(nil, fmt.Errorf("row %d, column %q: %w", first+int64(n)+1, schema.Field(i).Name, err))
						return
					}
				}
				n++
			} else if !errors.Is(err, io.EOF) {
				yield(nil, err)
				return
			}
			if end := err != nil; end && n == 0 || (end || n == batchRows) && !yield(b.NewRecordBatch(), nil) || end {
				return
			}
			if n == batchRows {
				first, n = first+batchRows, 0
			}
		}
	}
}
