package ingest

import (
	"slices"
	"sync"

	"github.com/onehop/onehop/featurestore"
)

// HotRows are the views that a topic feeds and the rows that this process lately wrote of
// them. All partitions of the topic in a process share one: where several of them feed the
// same rows they take turns, bucket by bucket, and each finds the rows as the other left
// them. Between processes the store decides. It is safe for concurrent use.
type HotRows struct {
	views []*View
	rows  []hotView // of each view
}

// hotView are the hot rows of one view.
type hotView [featurestore.Buckets]hotBucket

// hotBucket are those of one bucket. Whoever writes rows of the bucket holds the lock from
// reading them until the store has the new ones.
type hotBucket struct {
	mu    sync.Mutex
	cache *rowCache
}

// NewHotRows keeps hot rows of the views in at most so many bytes.
func NewHotRows(views []*View, bytes int) *HotRows {
	h := &HotRows{views: views, rows: make([]hotView, len(views))}
	for v := range h.rows {
		for b := range h.rows[v] {
			h.rows[v][b].cache = newRowCache(bytes / len(views) / featurestore.Buckets)
		}
	}
	return h
}

// portionBytes bounds the rows that are read, folded and written together, smallBatch is how
// many rows are not worth several round trips, and quarter how many buckets else go
// together.
const (
	portionBytes = 16 << 20
	smallBatch   = 128
	quarter      = featurestore.Buckets / 4
)

// portions orders the buckets of a batch and cuts them into what is written together.
// Partitions begin with different quarters, so that they do not wait for each other. The
// buckets of a portion are in order, so that two portions never wait for each other.
func (v *viewState) portions(work []*pendingBucket, partition int32) (portions [][]*pendingBucket) {
	rows := 0
	for _, w := range work {
		rows += len(w.rows)
	}
	first := 0
	if rows > smallBatch {
		first = int(partition) % 4 * quarter
	}
	place := func(w *pendingBucket) int { return (w.bucket - first + featurestore.Buckets) % featurestore.Buckets }
	slices.SortFunc(work, func(a, b *pendingBucket) int { return place(a) - place(b) })
	start, size := 0, 0
	for i, w := range work {
		size += len(w.rows) * v.rowBytes
		newQuarter := rows > smallBatch && place(w)/quarter != place(work[start])/quarter
		if i > start && (newQuarter || size > portionBytes) {
			portions = append(portions, work[start:i])
			start, size = i, len(w.rows)*v.rowBytes
		}
	}
	if start < len(work) {
		portions = append(portions, work[start:])
	}
	return portions
}

// lock takes the buckets of a portion that have rows, and returns what gives them back.
func (v *viewState) lock(portion []*pendingBucket) (unlock func()) {
	var held []*hotBucket
	for _, w := range portion {
		if len(w.rows) > 0 {
			held = append(held, &v.hot[w.bucket])
			v.hot[w.bucket].mu.Lock()
		}
	}
	return func() {
		for _, b := range held {
			b.mu.Unlock()
		}
	}
}
