package batching

import (
	"cmp"
	"context"
	"time"
)

// item is a request in a queue. Its state is guarded by the queue.
type item struct {
	Request
	batch    Batch
	deadline time.Time // zero when there is none
	state    state
	leaving  bool // its caller wants to go
	err      error
	wake     chan struct{} // told once: it runs alone, or is finished
	turn     turn          // when it leads
	queued   time.Time     // when it came, if it came to the end of the queue
	foreseen time.Duration // how long it was to wait then
	claimed  time.Time     // when its run began
	scored   time.Time     // when others had its scores
	run      []*item       // when it leads: whose rows the run has
}

// state is how far an item is.
type state uint8

const (
	waiting state = iota
	claimed       // for a run; its rows are being copied
	copied        // its rows are in the run's memory
	gone          // its caller left; nobody waits for its scores
	finished
)

func (q *Queue) newItem(ctx context.Context, b Batch, r Request) *item {
	it, ok := q.items.Get().(*item)
	if !ok {
		it = &item{wake: make(chan struct{}, 1)}
	}
	it.Request, it.batch = r, b
	it.deadline, _ = ctx.Deadline()
	return it
}

// recycle gives an item back; nobody else may know it.
func (q *Queue) recycle(it *item) {
	clear(it.run)
	*it = item{wake: it.wake, run: it.run[:0]}
	q.items.Put(it)
}

// finish ends an item that others wait for.
func (it *item) finish(err error) {
	it.state, it.err = finished, err
	it.wake <- struct{}{}
}

// before orders items by urgency.
func before(a, b *item) int {
	return cmp.Or(cmp.Compare(b.Priority, a.Priority), compareDeadlines(a.deadline, b.deadline))
}

func compareDeadlines(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return 1
	case b.IsZero():
		return -1
	default:
		return a.Compare(b)
	}
}
