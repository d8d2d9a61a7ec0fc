package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/featurestore"
)

// reportEvery is how many records lie between two lines of progress.
const reportEvery = 20000

// write writes a line for each rating. Ratings of the same time don't see each other:
// a read at t covers what happened before t.
func (b *builder) write(ctx context.Context, out io.Writer, records []events.Record, progress io.Writer) error {
	w := csv.NewWriter(out)
	if err := w.Write(b.header()); err != nil {
		return fmt.Errorf("writing the training set: %w", err)
	}
	for start := 0; start < len(records); {
		end := start + sameTime(records[start:])
		if err := b.group(ctx, w, records[start:end], start); err != nil {
			return fmt.Errorf("writing the training set: %w", err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("writing the training set, %d of %d records done: %w", start, len(records), context.Cause(ctx))
		}
		if end/reportEvery != start/reportEvery {
			if _, err := fmt.Fprintf(progress, "%d of %d records\n", end, len(records)); err != nil {
				return err
			}
		}
		start = end
	}
	w.Flush()
	return w.Error()
}

// sameTime is how many of the first records are of one source and one time.
func sameTime(records []events.Record) int {
	n := 1
	for n < len(records) && records[n].Time == records[0].Time && records[n].Source == records[0].Source {
		n++
	}
	return n
}

// group takes in records of one source and one time: it reads for all of them before
// it folds any.
func (b *builder) group(ctx context.Context, w *csv.Writer, records []events.Record, offset int) error {
	source := records[0].Source
	decoded := make([]featurestore.Event, len(records))
	for i := range records {
		var err error
		if decoded[i], err = b.decode(ctx, &records[i], int64(offset+i)); err != nil {
			return err
		}
		if source != events.Ratings {
			continue
		}
		line, err := b.read(&decoded[i])
		if err != nil {
			return err
		}
		if err := w.Write(line); err != nil {
			return err
		}
	}
	for i := range decoded {
		if err := b.fold(source, &decoded[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) header() []string {
	header := []string{"user_id", "movie_id", "time", "label"}
	for _, c := range b.plan.Columns {
		header = append(header, c.Ref.String())
	}
	for _, f := range b.request {
		header = append(header, "request."+f.Name)
	}
	return header
}
