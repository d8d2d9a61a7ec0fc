package materialize

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/featurestore/training/files"
)

// readFiles reads rows of files, and gives them when all were read and put in order.
func readFiles(ctx context.Context, o Options, e *encoder, span Span, give func(stream.Row) error) (err error) {
	pattern := e.source.Batch.Files
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(o.Dir, pattern)
	}
	names, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("%q is no pattern of file names: %w", pattern, err)
	}
	if len(names) == 0 {
		return fmt.Errorf("there are no files %s", pattern)
	}
	s := &sorter{}
	defer func() { err = errors.Join(err, s.close()) }()
	done := 0
	for _, name := range names {
		if err := readFile(ctx, name, e, span, s, func(rows int) {
			if done += rows; o.Progress != nil {
				o.Progress(done)
			}
		}); err != nil {
			return err
		}
	}
	return s.each(give)
}

func readFile(ctx context.Context, name string, e *encoder, span Span, to *sorter, progress func(rows int)) (err error) {
	file, err := files.Open(ctx, name, nil, columnTypes(e.source))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := e.bind(file.Schema()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	before := 0
	for file.Next() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		batch := file.RecordBatch()
		if err := e.open(file.Schema(), batch); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for i := range int(batch.NumRows()) {
			if err := sortRow(e, i, span, to); err != nil {
				return fmt.Errorf("%s, row %d: %w", name, before+i+1, err)
			}
		}
		before += int(batch.NumRows())
		progress(int(batch.NumRows()))
	}
	return file.Err()
}

// sortRow keeps a row if it is of the span.
func sortRow(e *encoder, row int, span Span, to *sorter) error {
	us, err := e.time(row)
	if err != nil || !span.has(us) {
		return err
	}
	encoded, err := e.row(row)
	if err != nil {
		return err
	}
	return to.add(encoded)
}

// columnTypes are the types of columns where the format of a file has none.
func columnTypes(source *featurestore.Source) map[string]arrow.DataType {
	types := map[string]arrow.DataType{source.TimeField: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}
	for i := range source.Fields {
		switch f := &source.Fields[i]; f.Type {
		case featurestore.Int64:
			types[f.Name] = arrow.PrimitiveTypes.Int64
		case featurestore.Float64:
			types[f.Name] = arrow.PrimitiveTypes.Float64
		case featurestore.Bool:
			types[f.Name] = arrow.FixedWidthTypes.Boolean
		case featurestore.Bytes:
			types[f.Name] = arrow.BinaryTypes.Binary
		default: // lists are JSON
			types[f.Name] = arrow.BinaryTypes.String
		}
	}
	return types
}
