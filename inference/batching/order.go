package batching

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// RefusedError says that a request was not run because it could not have been in time. It is made into words only where somebody asks
// for them: refusing has to be cheap when there is too much to do already.
type RefusedError struct {
	// Retry is when another try has a chance; 0 where that is not known.
	Retry time.Duration

	reason          string // or else:
	full            bool   // no more rows may wait
	ahead           int    // rows to be run before
	wait, own, left time.Duration
}

// Error says what stood in the way.
func (e *RefusedError) Error() string {
	switch {
	case e.reason != "":
		return e.reason
	case e.full:
		return fmt.Sprintf("%d rows wait for the model already, and no more may", e.ahead)
	default:
		return fmt.Sprintf("%d rows are to be run before, which may take %s, the run itself takes %s, and the deadline is in %s", e.ahead,
			e.wait.Round(10*time.Microsecond), e.own.Round(10*time.Microsecond), e.left.Round(10*time.Microsecond))
	}
}

// enqueue lets an item wait, or refuses it.
func (q *Queue) enqueue(it *item, now time.Time) error {
	at := q.place(it)
	if err := q.admit(it, at, now); err != nil {
		q.stats.Refused++
		return err
	}
	for q.rows+it.Rows > q.options.QueueRows {
		q.shed(q.waiting[len(q.waiting)-1], "more urgent requests took its place in the queue", now)
	}
	if len(q.waiting) == 0 {
		q.since = now
	}
	if at == len(q.waiting) {
		it.queued, it.foreseen = now, q.waitOf(q.rows, now)
	}
	q.waiting = slices.Insert(q.waiting, at, it)
	q.rows += it.Rows
	return nil
}

// place is where in the queue an item belongs: behind all that are as urgent.
func (q *Queue) place(it *item) int {
	return sort.Search(len(q.waiting), func(i int) bool { return before(it, q.waiting[i]) < 0 })
}

// admit finds out whether an item has a chance that comes to some place in the queue.
func (q *Queue) admit(it *item, at int, now time.Time) error {
	if q.closed {
		return ErrClosed
	}
	ahead := q.rows
	if at < len(q.waiting) {
		ahead = 0
		for _, other := range q.waiting[:at] {
			ahead += other.Rows
		}
	}
	if ahead+it.Rows > q.options.QueueRows { // those behind it would make room
		return &RefusedError{full: true, ahead: ahead, Retry: q.cost.runs(ahead, ahead/q.options.MaxRows+1)}
	}
	if at == len(q.waiting) {
		ahead += q.comingBefore(it.Priority)
	}
	if it.deadline.IsZero() || q.running == 0 && len(q.waiting) == 0 { // an idle model is tried, whatever it took so far
		return nil
	}
	wait := q.doubt.of(q.waitOf(ahead, now))
	own := q.cost.Time(min(ahead%q.options.MaxRows+it.Rows, q.options.MaxRows)) + q.margin()
	if late := now.Add(wait + own).Sub(it.deadline); late > 0 {
		// No hint is given where nothing is to be waited for.
		return &RefusedError{ahead: ahead, wait: wait, own: own, left: it.deadline.Sub(now), Retry: min(late, wait)}
	}
	return nil
}

// waitOf is how long it takes until the run begins that comes after so many rows.
func (q *Queue) waitOf(ahead int, now time.Time) time.Duration {
	wait := q.cost.runs(ahead-ahead%q.options.MaxRows, ahead/q.options.MaxRows) / time.Duration(q.options.Instances)
	if q.running < q.options.Instances {
		return wait
	}
	first := slices.MinFunc(q.turns, func(a, b turn) int { return a.ends.Compare(b.ends) })
	return wait + max(0, first.ends.Sub(now))
}

// margin is how much later than the fit says an answer may come.
func (q *Queue) margin() time.Duration { return q.cost.Margin() + 2*time.Duration(q.delay.Load()) }

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
	it.finish(&RefusedError{reason: reason, Retry: max(time.Millisecond, q.waitOf(q.rows, now))})
}

// start begins the runs that may begin now. It reports whether the caller's own item, if any, is to be run alone, by the caller.
func (q *Queue) start(now time.Time, own *item) (alone bool) {
	for !q.closed && q.running < q.options.Instances && len(q.waiting) > 0 && q.ripe(now) {
		if first := q.waiting[0]; !first.deadline.IsZero() && q.running > 0 && now.Add(q.cost.Time(q.padded(first.Rows))).After(first.deadline) {
			q.shed(first, "the model was busy until it was too late", now)
			continue
		}
		switch lead := q.claim(now); {
		case len(lead.run) > 1:
			items, t := lead.run, lead.turn
			lead.run = nil
			q.owned.Go(func() { q.share(items, t) })
		case lead == own:
			alone = true
		default:
			lead.wake <- struct{}{}
		}
	}
	return alone
}

// mostRows is how many rows a run takes: all that fit, but where several instances are free each gets its part, down to the number
// of rows from which on a run is worth its fixed cost.
func (q *Queue) mostRows() int {
	free := q.options.Instances - q.running
	part := (q.rows + free - 1) / free
	return min(q.options.MaxRows, max(part, q.cost.worth(q.options.MaxRows)))
}

// claim takes the most urgent item and those that share its run: as many as fit, and as its tightest deadline
// allows.
func (q *Queue) claim(now time.Time) *item {
	lead := q.waiting[0]
	if lead.foreseen > 0 {
		q.doubt.observe(lead.foreseen, now.Sub(lead.queued))
	}
	rows, tightest := 0, lead.deadline
	kept := q.waiting[:0]
	full, most := false, q.mostRows()
	for _, it := range q.waiting {
		if full = full || rows > 0 && rows+it.Rows > most; full || it.Shape != lead.Shape {
			kept = append(kept, it)
			continue
		}
		limit := tightest
		if compareDeadlines(it.deadline, limit) < 0 {
			limit = it.deadline
		}
		if rows > 0 && !limit.IsZero() && now.Add(q.cost.Time(q.padded(rows+it.Rows))).After(limit) {
			full = true
			kept = append(kept, it)
			continue
		}
		tightest = limit
		rows += it.Rows
		it.state, it.claimed = claimed, now
		lead.run = append(lead.run, it)
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	q.rows -= rows
	q.since = now
	q.running++
	lead.turn = turn{began: now, ends: now.Add(q.cost.Time(q.padded(rows)))}
	q.turns = append(q.turns, lead.turn)
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
		left = min(left, first.deadline.Sub(now)-q.cost.Time(q.options.MaxRows)-q.margin())
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
		defer q.mu.Unlock()
		q.start(time.Now(), nil)
	})
	return false
}
