package ingest

import (
	"context"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// PartitionID names a partition of one incarnation of a topic.
type PartitionID struct {
	Topic     featurestore.TopicID
	Partition int32
}

// View is a generation of a feature view, ready to be folded.
type View struct {
	*featurestore.View
	Namespace string
	Entity    *featurestore.Entity
	Program   *fold.Program
	// JoinFields are the indexes, in the source's fields, of the entity's join keys.
	JoinFields []int
}

// NewView compiles a view of a catalog.
func NewView(catalog *featurestore.Catalog, view *featurestore.View) (*View, error) {
	source := catalog.Source(view.Source)
	program, err := fold.Compile(view, source)
	if err != nil {
		return nil, err
	}
	v := &View{View: view, Namespace: catalog.Namespace, Entity: catalog.Entity(view.Entity), Program: program}
	for _, field := range view.JoinFields {
		v.JoinFields = append(v.JoinFields, source.Field(field))
	}
	return v, nil
}

// Expire is when the row whose newest event is of a time may be forgotten, in microseconds; 0
// is never.
func (v *View) Expire(newest int64) int64 {
	if retention := v.Program.Retention(); retention > 0 {
		return newest + retention + ExpirySlack.Microseconds()
	}
	return 0
}

// Missing is the watermark of a partition that a bucket does not know.
const Missing int64 = -1

// Mark is where one bucket stands with respect to one partition.
type Mark struct {
	// Next is the offset after the last one folded, or Missing.
	Next int64
	// Known is false when the bucket knows no partition of the topic at all, or has
	// neither a live nor a filling marker: it is new, or its rows were lost.
	Known bool
	// Target is the offset up to which the partition must be folded before the
	// bucket may be served; Missing when the bucket is live or the partition has
	// done its part.
	Target int64
}

// State says whether the rows of a generation may be served.
type State uint8

// The states.
const (
	// Lost generations have no marker: they are new, or the store lost everything.
	Lost State = iota
	// Behind generations are filling, and the partition that asks has not done its part.
	Behind
	// Filling generations lack events that were there before.
	Filling
	// Live generations hold everything up to their watermarks.
	Live
)

// Offsets are the first and the next offset of a partition's log.
type Offsets struct{ Start, End int64 }

// RowWrite replaces or deletes one row.
type RowWrite struct {
	// Key is the encoded entity key.
	Key []byte
	// Stamp of the row that the new one was folded from, 0 if there was none.
	Stamp uint64
	// Row is the new row, nil to delete it. A row that is not there has stamp 0.
	Row []byte
	// Expire is when the row may be forgotten, in microseconds; 0 is never.
	Expire int64
}

// Commit moves the watermark of one partition in one bucket from Expect to Next and
// replaces rows, all or nothing.
type Commit struct {
	View      *View
	Bucket    int
	Partition PartitionID
	// Expect is the watermark that the writer remembers, Missing if there was none.
	Expect, Next int64
	Rows         []RowWrite
}

// Outcome is what became of a Commit. Without Moved and Changed it was written.
type Outcome struct {
	// Moved says that the watermark was not what the writer remembered, and
	// Watermark what it is. Nothing was written.
	Moved     bool
	Watermark int64
	// Changed lists the indexes, in Commit.Rows, of the rows whose stamp was not what
	// the writer remembered, and Current these rows, nil for none. Nothing was
	// written.
	Changed []int
	Current [][]byte
}

// Store keeps rows and watermarks. It is implemented by package online over Redis,
// and in memory by the tests. Errors mean that the outcome is not known; the caller
// opens the partition again and finds out.
type Store interface {
	Marker
	Rows
}

// Marker keeps where buckets stand.
type Marker interface {
	// Marks returns where each bucket of a generation stands for a partition.
	Marks(ctx context.Context, view *View, id PartitionID) ([]Mark, error)
	// BeginFill makes unknown buckets known: every partition of the topic at the
	// start of its log, and filling until each has been folded up to its End.
	BeginFill(ctx context.Context, view *View, topic featurestore.TopicID, buckets []int, offsets map[int32]Offsets) error
	// Advance looks at a partition's watermarks in the store itself: when every
	// bucket has reached the target, the partition has done its part of the fill,
	// and the last partition to do so makes the buckets live. It returns the state
	// after that, as this partition sees it.
	Advance(ctx context.Context, view *View, id PartitionID) (State, error)
}

// Rows reads and writes rows.
type Rows interface {
	// Load returns the rows of encoded entity keys, nil where there is none.
	Load(ctx context.Context, view *View, keys [][]byte) ([][]byte, error)
	// Commit tries each commit on its own and returns an outcome for each.
	Commit(ctx context.Context, commits []Commit) ([]Outcome, error)
}
