package batching

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// dispatch begins the run that an item leads; nil is none. It reports whether the caller's own item is to run alone, by the caller.
func (q *Queue) dispatch(lead, own *item) bool {
	switch {
	case lead == nil:
		return false
	case len(lead.run) > 1:
		run := lead.run
		lead.run = nil
		ends := lead.ends
		q.owned.Go(func() { q.share(run, ends) })
		return false
	case lead == own:
		return true
	default:
		lead.wake <- struct{}{}
		return false
	}
}

// alone runs the model for one item, on its caller's memory and in its caller's goroutine.
func (q *Queue) alone(ctx context.Context, it *item) {
	n := q.padded(it.Rows)
	start := time.Now()
	err := run(ctx, it.batch, n)
	if err != nil {
		n = 0
	}
	q.finished(it.ends, n, time.Since(start))
	if it.err = err; err == nil {
		it.Scores = append(it.Scores, it.batch.Memory().Scores(0)[:it.Rows]...)
	}
}

// share runs the model for several items, on memory of its own to which their rows are copied, so that each of their callers can go
// when it wants.
func (q *Queue) share(items []*item, ends time.Time) {
	b, err := q.Take()
	if err != nil {
		q.finished(ends, 0, 0)
		q.hand(items, nil, err)
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
	start := time.Now()
	if err = run(ctx, b, n); err != nil && ctx.Err() == nil {
		q.apart(ctx, b, items)
		q.finished(ends, 0, 0)
		return
	}
	if err != nil {
		n = 0
	}
	q.finished(ends, n, time.Since(start)) // the next run begins before the scores of this one are handed out
	q.hand(items, b.Memory().Scores(0), err)
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

// finished ends a run, of which so many rows took that long, and begins the next.
func (q *Queue) finished(ends time.Time, rows int, took time.Duration) {
	now := time.Now()
	q.mu.Lock()
	q.running--
	at := slices.IndexFunc(q.ends, ends.Equal)
	q.ends = slices.Delete(q.ends, at, at+1)
	if rows > 0 {
		q.cost.observe(rows, took)
	}
	var next *item
	if !q.closed {
		next = q.start(now)
	}
	if q.running == 0 {
		q.idle.Broadcast()
	}
	q.mu.Unlock()
	q.dispatch(next, nil)
}

// hand gives items their scores, one behind the other, or an error. Who was told is not looked at any more.
func (q *Queue) hand(items []*item, scores []float32, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := 0
	for _, it := range items {
		rows := it.Rows
		if it.state != gone {
			if err == nil {
				it.Scores = append(it.Scores, scores[at:at+rows]...)
			}
			it.finish(err)
		}
		at += rows
	}
}

// apart runs the items of a failed run one by one, so that only those fail that are at fault.
func (q *Queue) apart(ctx context.Context, b Batch, items []*item) {
	memory, at := b.Memory(), 0
	for i, it := range items {
		rows := it.Rows
		memory.Copy(0, memory, at, rows)
		err := run(ctx, b, q.padded(rows))
		q.hand(items[i:i+1], memory.Scores(0), err)
		at += rows
	}
}
