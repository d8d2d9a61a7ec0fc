package table

import (
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training"
)

// Defaults and bounds.
const (
	// TimeColumn is the name of the column of times where none is given.
	TimeColumn = "event_time"
	// Budget is the bytes that the answers of a chunk may take where none are given.
	Budget = 96 << 20
	// MaxBatchRows is how many rows a batch of a training set has at most.
	MaxBatchRows = 8192

	minChunkRows = 1024
	maxChunkRows = 1_000_000
)

// Options are choices of a training set; the zero value is one by event time, of values
// alone.
type Options struct {
	// TimeColumn names the spine's column of times; "" is [TimeColumn].
	TimeColumn string
	// Available counts only events that had arrived at each row's time.
	Available bool
	// Statuses adds a column "view.feature.status" for each feature: PRESENT, NULL,
	// NOT_FOUND, EXPIRED or OVERFLOW.
	Statuses bool
	// EventTimes adds a column "view.feature.event_time" for each feature: the time of the
	// newest event behind the value.
	EventTimes bool
	// Skip is how many rows at the start of the spine are left out, because they were
	// joined before.
	Skip int64
	// Budget is the bytes that the answers of a chunk may take, about; 0 is [Budget]. A chunk
	// has at least 1,024 rows and at most 1,000,000.
	Budget int64
	// Progress, if set, is told of work done: how many rows of one view were answered since
	// the last call. Each view answers every row once; a chunk that is joined again because
	// it failed is told again.
	Progress func(rows int)
	// Allocator makes the training set's columns; nil is Arrow's default.
	Allocator memory.Allocator
}

func (o Options) withDefaults() Options {
	if o.TimeColumn == "" {
		o.TimeColumn = TimeColumn
	}
	if o.Budget <= 0 {
		o.Budget = Budget
	}
	if o.Allocator == nil {
		o.Allocator = memory.DefaultAllocator
	}
	return o
}

// Estimates of what the values of a row take in memory.
const (
	valueBytes = 64 // a featurestore.Value
	textBytes  = 32 // of one text, nobody knows

	computedLength = 100 // of a computed list, nobody knows
)

// chunkRows is how many rows the budget allows a chunk.
func chunkRows(join *training.Join, o *Options) int {
	p := join.Plan()
	row := int64(8) // the time
	for _, e := range p.Entities {
		row += 4 // its place in the order
		for _, key := range e.Keys {
			row += 8
			if key.Type != featurestore.Int64 {
				row += 16
			}
		}
	}
	if o.EventTimes {
		row += 8 * int64(p.Cells)
	}
	for i := range p.Views {
		for _, c := range p.Views[i].Columns {
			row += 1 + cellBytes(c.Type, int64(max(1, p.Views[i].Features[c.Feature].N)))
		}
	}
	for i := range p.OnDemand {
		row += 1 + cellBytes(p.OnDemand[i].Expression.Type(), computedLength)
	}
	for i := range p.Request {
		row += 1 + cellBytes(p.Request[i].Type, 1)
	}
	return int(min(maxChunkRows, max(minChunkRows, o.Budget/row)))
}

// cellBytes is what one cell of a column takes.
func cellBytes(t featurestore.Type, length int64) int64 {
	element := int64(valueBytes)
	if t.Elem() == featurestore.String || t.Elem() == featurestore.Bytes {
		element += textBytes
	}
	switch {
	case t.IsList():
		return valueBytes + length*element
	case element > valueBytes:
		return element
	default:
		return 8
	}
}
