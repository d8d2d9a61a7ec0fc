package batching

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// alone runs the model for one item, on its caller's memory and in its caller's goroutine.
func (q *Queue) alone(ctx context.Context, it *item) {
	n := q.padded(it.Rows)
	err := run(ctx, it.batch, n)
	if err != nil {
		n = 0
	}
	q.finished(it.turn, n)
	if it.err = err; err == nil {
		it.Scores = append(it.Scores, it.batch.Memory().Scores(0)[:it.Rows]...)
	}
}

// share runs the model for several items, on memory of its own to which their rows are copied, so that each of their callers can go
// when it wants.
func (q *Queue) share(items []*item, t turn) {
	if !q.worthARun() {
		runtime.Gosched() // who can go on does so before a run takes the processor, and Go does not take it from the run for them
	}
	b, err := q.Take()
	if err != nil {
		q.hand(items, nil, err)
		q.finished(t, 0)
		return
	}
	defer q.Release(b)
	rows := 0
	for _, it := range items {
		b.Memory().Copy(rows, it.batch.Memory(), 0, it.Rows)
		rows += it.Rows
	}
	q.copied(items)
	ctx, cancel := together(items)
	defer cancel()
	n := q.padded(rows)
	switch err = run(ctx, b, n); {
	case err == nil && q.worthARun(): // which need not wait until hundreds are told
		q.finished(t, n)
		q.hand(items, b.Memory().Scores(0), nil)
		return
	case err == nil:
		q.hand(items, b.Memory().Scores(0), nil)
	case ctx.Err() == nil:
		n = 0
		q.apart(ctx, b, items)
	default:
		n = 0
		q.hand(items, nil, err)
	}
	q.finished(t, n)
}

// worthARun says whether so many rows wait that a run of them is worth its fixed cost.
func (q *Queue) worthARun() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rows >= q.cost.worth(q.options.MaxRows)
}

// run is a run of the model, of which a panic is an error: others wait for its end.
func run(ctx context.Context, b Batch, rows int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the run of the model panicked: %v", p)
		}
	}()
	return b.Run(ctx, rows)
}

// together is a context for a run of several: it ends when the last of their deadlines passes.
func together(items []*item) (context.Context, context.CancelFunc) {
	ctx := context.Background()
	last := slices.MaxFunc(items, func(a, b *item) int { return compareDeadlines(a.deadline, b.deadline) })
	if last.deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, last.deadline)
}

// copied lets the items go whose callers want to, now that their memory is not needed any more.
func (q *Queue) copied(items []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, it := range items {
		if it.leaving {
			items[i] = &item{Request: Request{Rows: it.Rows}, state: gone}
			it.finish(context.Canceled)
			continue
		}
		it.state = copied
	}
}

// turn is an instance's turn at the model.
type turn struct {
	began time.Time
	ends  time.Time // when it should
}

// finished ends a turn in which so many rows were run, and begins the next. Where few wait it first lets all goroutines go on that can:
// callers that were answered, and those that are about to ask. So they share the next run; else the first of them would take the
// processor for a run of its own, and the others would still not have asked when that ends.
func (q *Queue) finished(t turn, rows int) {
	took := time.Since(t.began)
	q.mu.Lock()
	defer q.mu.Unlock()
	if rows > 0 {
		q.cost.Observe(rows, took)
	}
	if q.rows < q.cost.worth(q.options.MaxRows) {
		q.mu.Unlock()
		runtime.Gosched()
		q.mu.Lock()
	}
	q.running--
	at := slices.Index(q.turns, t)
	q.turns = slices.Delete(q.turns, at, at+1)
	if q.running == 0 {
		q.idle.Broadcast()
	}
	q.start(time.Now(), nil)
}

// hand gives items their scores, one behind the other, or an error. Who was told is not looked at any more.
func (q *Queue) hand(items []*item, scores []float32, err error) {
	at := 0
	q.mu.Lock()
	for i, it := range items {
		if it.state == gone {
			items[i] = nil
		} else {
			it.state, it.err = finished, err
			if err == nil {
				it.Scores = append(it.Scores, scores[at:at+it.Rows]...)
			}
		}
		at += it.Rows
	}
	q.mu.Unlock()
	now := time.Now()
	for _, it := range items { // without the lock: waking hundreds takes its time
		if it != nil {
			it.scored = now
			it.wake <- struct{}{}
		}
	}
}

// apart runs the items of a failed run one by one, so that only those fail that are at fault.
func (q *Queue) apart(ctx context.Context, b Batch, items []*item) {
	memory, at := b.Memory(), 0
	for i, it := range items {
		rows := it.Rows
		memory.Copy(0, memory, at, rows)
		at += rows
		err := run(ctx, b, q.padded(rows))
		q.hand(items[i:i+1], memory.Scores(0), err)
	}
}
