package table

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/onehop/onehop/featurestore/training"
)

// Joined is a chunk with its features.
type Joined struct {
	// Views says how each view of the plan was joined.
	Views []training.Report

	table   *Table
	chunk   *Chunk
	columns []training.Column
}

// Join joins a chunk, which must not be released before the last use of what is returned. A
// chunk whose join fails can be joined again, with another snapshot of the same offsets.
func (t *Table) Join(ctx context.Context, history training.History, c *Chunk) (*Joined, error) {
	answer, err := t.join.Do(ctx, history, &c.spine, training.Options{
		Available: t.options.Available, EventTimes: t.options.EventTimes, Progress: t.options.Progress,
	})
	if err != nil {
		return nil, err
	}
	return &Joined{Views: answer.Views, table: t, chunk: c, columns: answer.Columns}, nil
}

// Each calls emit for the batches of the training set, of at most [MaxBatchRows] rows, in
// the spine's order. A batch is released when emit returns.
func (j *Joined) Each(emit func(arrow.RecordBatch) error) error {
	row := 0
	for _, batch := range j.chunk.batches {
		for from := int64(0); from < batch.NumRows(); from += MaxBatchRows {
			to := min(batch.NumRows(), from+MaxBatchRows)
			if err := j.emit(batch.NewSlice(from, to), row, emit); err != nil {
				return err
			}
			row += int(to - from)
		}
	}
	return nil
}

// emit adds the features to rows of the spine, which it releases; row is the first of them
// in the chunk.
func (j *Joined) emit(spine arrow.RecordBatch, row int, emit func(arrow.RecordBatch) error) error {
	defer spine.Release()
	added := j.table.features(j.columns, row, row+int(spine.NumRows()))
	columns := append(append([]arrow.Array(nil), spine.Columns()...), added...)
	batch := array.NewRecordBatch(j.table.schema, columns, spine.NumRows())
	defer batch.Release()
	for _, column := range added {
		column.Release() // the batch holds it
	}
	return emit(batch)
}

// Chunked is what is told of a chunk that was joined.
type Chunked struct {
	// Rows is how many rows of the spine are done, those skipped included.
	Rows int64
	// Views says how each view of the plan was joined.
	Views []training.Report
}

// All joins a whole spine and calls emit for its batches, as [Joined.Each] does, and after
// each chunk done, if it is not nil. What fails has nothing to do with a chunk that done was
// told of: skip its rows to go on.
func (t *Table) All(ctx context.Context, history training.History, spine array.RecordReader, emit func(arrow.RecordBatch) error, done func(Chunked) error) error {
	chunks := t.Chunks(spine)
	defer chunks.Release()
	for {
		chunk, err := chunks.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.one(ctx, history, chunk, emit, done); err != nil {
			return err
		}
	}
}

func (t *Table) one(ctx context.Context, history training.History, chunk *Chunk, emit func(arrow.RecordBatch) error, done func(Chunked) error) error {
	defer chunk.Release()
	joined, err := t.Join(ctx, history, chunk)
	if err != nil {
		return err
	}
	if err := joined.Each(emit); err != nil || done == nil {
		return err
	}
	return done(Chunked{Rows: chunk.First + int64(chunk.Rows), Views: joined.Views})
}
