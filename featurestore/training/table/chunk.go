package table

import (
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/util"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training"
)

// Chunks cuts a spine into chunks. It is not safe for concurrent use.
type Chunks struct {
	table *Table
	spine array.RecordReader
	rest  arrow.RecordBatch // of the batch that the last chunk ended in; nil for none
	row   int64             // that comes next
}

// Chunk is some rows of a spine that follow each other. Its memory is the spine's, and is
// held until [Chunk.Release].
type Chunk struct {
	// First is the chunk's first row, counted from 0 over the whole spine; Rows is how many
	// there are, at least one.
	First   int64
	Rows    int
	spine   training.Spine
	batches []arrow.RecordBatch
}

// Chunks reads a spine of the table's schema, which stays its caller's. The caller calls
// Release.
func (t *Table) Chunks(spine array.RecordReader) *Chunks { return &Chunks{table: t, spine: spine} }

// Release gives back what was read ahead.
func (c *Chunks) Release() {
	if c.rest != nil {
		c.rest.Release()
		c.rest = nil
	}
}

// Next is the next chunk, which the caller releases; io.EOF follows the last.
func (c *Chunks) Next() (*Chunk, error) {
	for c.row < c.table.options.Skip {
		batch, err := c.take(c.table.options.Skip - c.row)
		if errors.Is(err, io.EOF) {
			return nil, invalid("the spine has %d rows; %d were to be skipped", c.row, c.table.options.Skip)
		}
		if err != nil {
			return nil, err
		}
		c.row += batch.NumRows()
		batch.Release()
	}
	chunk := &Chunk{First: c.row}
	for size := int64(0); chunk.Rows < c.table.chunk && (size < c.table.options.Budget || chunk.Rows < minChunkRows); {
		batch, err := c.take(int64(c.table.chunk - chunk.Rows))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			chunk.Release()
			return nil, err
		}
		size += util.TotalRecordSize(batch)
		chunk.batches = append(chunk.batches, batch)
		chunk.Rows += int(batch.NumRows())
	}
	if chunk.Rows == 0 {
		return nil, io.EOF
	}
	if err := c.table.convert(chunk); err != nil {
		chunk.Release()
		return nil, err
	}
	c.row += int64(chunk.Rows)
	return chunk, nil
}

// take takes the next rows of the spine, at least one and at most rows.
func (c *Chunks) take(rows int64) (arrow.RecordBatch, error) {
	for c.rest == nil || c.rest.NumRows() == 0 {
		c.Release()
		if !c.spine.Next() {
			if err := c.spine.Err(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		if err := Check(c.spine.Schema(), c.spine.RecordBatch()); err != nil {
			return nil, err
		}
		c.rest = c.spine.RecordBatch()
		c.rest.Retain()
	}
	batch := c.rest
	if batch.NumRows() <= rows {
		c.rest = nil
		return batch, nil
	}
	defer batch.Release()
	c.rest = batch.NewSlice(rows, batch.NumRows())
	return batch.NewSlice(0, rows), nil
}

// Release gives the chunk's memory back.
func (c *Chunk) Release() {
	for _, batch := range c.batches {
		batch.Release()
	}
	c.batches = nil
}

// convert reads times, keys and request fields. All columns are of one length, so they are allocated once.
func (t *Table) convert(c *Chunk) error {
	c.spine.Times = make([]int64, 0, c.Rows)
	for _, columns := range t.keys {
		c.spine.Keys = append(c.spine.Keys, newKeys(columns, c.Rows))
	}
	for _, field := range t.request {
		c.spine.Request = append(c.spine.Request, training.NewColumn(featurestore.Ref{View: featurestore.RequestView, Column: field.name}, field.key, c.Rows, false))
	}
	first := c.First
	for _, batch := range c.batches {
		var err error
		if c.spine.Times, err = times(c.spine.Times, batch.Column(t.time.index), t.time.name, first); err != nil {
			return err
		}
		for i, columns := range t.keys {
			if err := appendKeys(&c.spine.Keys[i], columns, batch, first); err != nil {
				return err
			}
		}
		for i, field := range t.request {
			if err := setField(&c.spine.Request[i], int(first-c.First), batch.Column(field.index), first); err != nil {
				return err
			}
		}
		first += batch.NumRows()
	}
	return nil
}
