package files

import (
	"context"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

func openParquet(ctx context.Context, from *os.File, r *Reader) (array.RecordReader, int64, error) {
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true // a column's pages, not its whole chunk
	reader, err := file.NewParquetReader(from, file.WithReadProps(props))
	if err != nil {
		return nil, 0, err
	}
	r.closes = []func() error{reader.Close} // which closes the file
	arrows, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, 0, err
	}
	records, err := arrows.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return nil, 0, err
	}
	return records, reader.NumRows(), nil
}

// rowGroup is how many rows a row group has: one is held in memory until it is written.
const rowGroup = 128 << 10

func newParquet(w *output, schema *arrow.Schema) (batchWriter, error) {
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(rowGroup),
		parquet.WithDictionaryDefault(true))
	writer, err := pqarrow.NewFileWriter(schema, w, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, err
	}
	return parquetWriter{writer}, nil
}

type parquetWriter struct{ *pqarrow.FileWriter }

// cut ends a row group before it has all its rows.
func (w parquetWriter) cut() error {
	if rows, err := w.RowGroupNumRows(); rows == 0 || err != nil {
		return err
	}
	return w.NewBufferedRowGroupChecked()
}

func (w parquetWriter) Write(batch arrow.RecordBatch) error { return w.WriteBuffered(batch) }
