package materialize

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/stream"
)

// Options say where rows are.
type Options struct {
	// Pool is the Postgres with the table; nil where a source has files.
	Pool *pgxpool.Pool
	// Dir is where relative names of files begin; empty for the working directory.
	Dir string
	// Progress, if not nil, is told how many rows of files were read; not all of them are of
	// the span.
	Progress func(rows int)
}

// Span are event times, in microseconds: After excluded, Until included.
type Span struct{ After, Until int64 }

func (s Span) has(us int64) bool { return us > s.After && us <= s.Until }

// Read gives yield the rows of a batch source whose event time is in a span, in the order of
// event time. A row is yield's to keep. Errors name the source, and the row and the column
// where it is about them; an error of yield is returned as it is. When ctx ends Read does.
//
// Rows of files are all checked before the first one is given, and kept in temporary files if
// there are many. Those of Postgres are one snapshot, and are given as Postgres sends them.
func Read(ctx context.Context, o Options, catalog *featurestore.Catalog, source *featurestore.Source, span Span, yield func(stream.Row) error) error {
	enc := newEncoder(catalog, source)
	var given error // by yield
	give := func(row stream.Row) error {
		if given = context.Cause(ctx); given == nil {
			given = yield(row)
		}
		return given
	}
	var err error
	if source.Batch.Files != "" {
		err = readFiles(ctx, o, enc, span, give)
	} else {
		err = readSQL(ctx, o.Pool, enc, span, give)
	}
	switch {
	case given != nil:
		return given
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("source %q: %w", source.Name, err)
	}
	return nil
}
