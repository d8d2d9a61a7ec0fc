package batching

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// RefusedError says that a request was not run because it could not have been in time.
type RefusedError struct {
	// Reason is what stood in the way.
	Reason string
	// Retry is when another try has a chance.
	Retry time.Duration
}

// Error gives the reason.
func (e *RefusedError) Error() string { return e.Reason }

// enqueue lets an item wait, or refuses it.
func (q *Queue) enqueue(it *item, now time.Time) error {
	if q.closed {
		return ErrClosed
	}
	at := sort.Search(len(q.waiting), func(i int) bool { return before(it, q.waiting[i]) < 0 })
	if err := q.admit(it, at, now); err != nil {
		q.stats.Refused++
		return err
	}
	if len(q.waiting) == 0 {
		q.since = now
	}
	q.waiting = slices.Insert(q.waiting, at, it)
	q.rows += it.Rows
	return nil
}

// admit finds out whether an item at some place in the queue has a chance.
func (q *Queue) admit(it *item, at int, now time.Time) error {
	for q.rows+it.Rows > q.options.QueueRows {
		last := len(q.waiting) - 1
		if at > last { // nobody behind it could make room
			return &RefusedError{
				Reason: fmt.Sprintf("%d rows wait for the model already, and no more may", q.rows),
				Retry:  q.cost.runs(q.rows, q.rows/q.options.MaxRows+1),
			}
		}
		q.shed(q.waiting[last], "more urgent requests took its place in the queue", now)
	}
	if it.deadline.IsZero() {
		return nil
	}
	ahead := 0
	if at == len(q.waiting) {
		ahead = q.rows
	} else {
		for _, other := range q.waiting[:at] {
			ahead += other.Rows
		}
	}
	wait := q.waitOf(ahead, now)
	own := min(ahead%q.options.MaxRows+it.Rows, q.options.MaxRows)
	if late := now.Add(wait + q.cost.time(own) + q.cost.margin()).Sub(it.deadline); late > 0 {
		return &RefusedError{
			Reason: fmt.Sprintf("the model has %d rows to run before, which take %s, and the deadline is in %s", ahead, wait.Round(10*time.Microsecond),
				it.deadline.Sub(now).Round(10*time.Microsecond)),
			Retry: late,
		}
	}
	return nil
}

// waitOf is how long it takes until the run begins that comes after so many rows.
func (q *Queue) waitOf(ahead int, now time.Time) time.Duration {
	wait := q.cost.runs(ahead-ahead%q.options.MaxRows, ahead/q.options.MaxRows) / time.Duration(q.options.Instances)
	if q.running < q.options.Instances {
		return wait
	}
	return wait + max(0, slices.MinFunc(q.ends, time.Time.Compare).Sub(now))
}

// remove takes an item out of the queue.
func (q *Queue) remove(it *item) {
	at := slices.Index(q.waiting, it)
	q.waiting = slices.Delete(q.waiting, at, at+1)
	q.rows -= it.Rows
}

// shed ends an item that waited in vain.
func (q *Queue) shed(it *item, reason string, now time.Time) {
	q.remove(it)
	q.stats.Shed++
	it.finish(&RefusedError{Reason: reason, Retry: q.waitOf(q.rows, now)})
}

// start claims the items of the next run and returns their leader; nil when none is to begin now.
func (q *Queue) start(now time.Time) *item {
	for q.running < q.options.Instances && len(q.waiting) > 0 && q.ripe(now) {
		if first := q.waiting[0]; !first.deadline.IsZero() && now.Add(q.cost.time(q.padded(first.Rows))).After(first.deadline) {
			q.shed(first, "the model was busy until it was too late", now)
			continue
		}
		return q.claim(now)
	}
	return nil
}

// claim takes the most urgent item and those that share its run: as many as fit, and as its tightest deadline
// allows.
func (q *Queue) claim(now time.Time) *item {
	lead := q.waiting[0]
	rows, tightest := 0, lead.deadline
	kept := q.waiting[:0]
	full := false
	for _, it := range q.waiting {
		if full = full || rows+it.Rows > q.options.MaxRows; full || it.Shape != lead.Shape {
			kept = append(kept, it)
			continue
		}
		limit := tightest
		if compareDeadlines(it.deadline, limit) < 0 {
			limit = it.deadline
		}
		if rows > 0 && !limit.IsZero() && now.Add(q.cost.time(q.padded(rows+it.Rows))).After(limit) {
			full = true
			kept = append(kept, it)
			continue
		}
		tightest = limit
		rows += it.Rows
		it.state = claimed
		lead.run = append(lead.run, it)
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	q.rows -= rows
	q.since = now
	q.running++
	lead.ends = now.Add(q.cost.time(q.padded(rows)))
	q.ends = append(q.ends, lead.ends)
	q.stats.Runs++
	q.stats.Rows += uint64(rows)
	q.stats.Requests += uint64(len(lead.run))
	return lead
}

// padded is how many rows a run of so many has.
func (q *Queue) padded(rows int) int {
	if i, _ := slices.BinarySearch(q.options.Sizes, rows); i < len(q.options.Sizes) {
		return q.options.Sizes[i]
	}
	return rows
}

// ripe says whether a run may begin; if not yet, it sees to it that the time comes.
func (q *Queue) ripe(now time.Time) bool {
	left := q.since.Add(q.options.MaxDelay).Sub(now)
	if first := q.waiting[0]; !first.deadline.IsZero() { // a delay must not cost the deadline
		left = min(left, first.deadline.Sub(now)-q.cost.time(q.options.MaxRows)-q.cost.margin())
	}
	if left <= 0 || q.rows >= q.options.MaxRows {
		return true
	}
	if q.timer != nil && q.timer.Stop() {
		q.owned.Done()
	}
	q.owned.Add(1)
	q.timer = time.AfterFunc(left, func() {
		defer q.owned.Done()
		q.mu.Lock()
		var lead *item
		if !q.closed {
			lead = q.start(time.Now())
		}
		q.mu.Unlock()
		q.dispatch(lead, nil)
	})
	return false
}
