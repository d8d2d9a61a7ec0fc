package batching

import "time"

// Admission is the promise of a request that was admitted to ask for a run soon; who comes later is told to wait for it. Its zero
// value is none.
type Admission struct {
	queue    *Queue
	rows     int
	priority int
	// Takes is how long the run itself takes, by what is known.
	Takes time.Duration
}

// Admit says whether a request that came now would have a chance by its deadline, if it has one; its error is what [Queue.Run] would
// return. A caller asks before it reads what the request needs, then gives the admission to Run or, if it does not come to that, withdraws it.
func (q *Queue) Admit(deadline time.Time, rows, priority int) (Admission, error) {
	it := item{Request: Request{Rows: min(rows, q.options.MaxRows), Priority: priority}, deadline: deadline}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if err := q.admit(&it, q.place(&it), now); err != nil {
		q.stats.Refused++
		return Admission{}, err
	}
	q.come(priority, it.Rows)
	return Admission{queue: q, rows: it.Rows, priority: priority, Takes: q.cost.Time(q.padded(it.Rows)) + q.margin()}, nil
}

// Withdraw takes the promise back, once.
func (a *Admission) Withdraw() {
	if a == nil || a.queue == nil {
		return
	}
	q := a.queue
	q.mu.Lock()
	a.keep()
	q.mu.Unlock()
}

// keep is Withdraw for a request that has come, under the queue's lock.
func (a *Admission) keep() {
	if a == nil || a.queue == nil {
		return
	}
	a.queue.come(a.priority, -a.rows)
	a.queue = nil
}

// coming is how many rows of a priority were admitted and are not here yet.
type coming struct{ priority, rows int }

// come counts rows that are to come, or that have.
func (q *Queue) come(priority, rows int) {
	for i := range q.coming {
		if q.coming[i].priority == priority {
			q.coming[i].rows += rows
			return
		}
	}
	q.coming = append(q.coming, coming{priority, rows})
}

// comingBefore is how many rows are to come that are as urgent at least.
func (q *Queue) comingBefore(priority int) (rows int) {
	for _, c := range q.coming {
		if c.priority >= priority {
			rows += c.rows
		}
	}
	return rows
}
