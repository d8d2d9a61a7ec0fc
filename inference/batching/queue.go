package batching

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onehop/onehop/inference/tensor"
	"github.com/onehop/onehop/internal/fit"
)

// ErrClosed is returned by a queue that was closed.
var ErrClosed = errors.New("the model was closed")

// Batch is memory that a model runs on. It belongs to one goroutine at a time.
type Batch interface {
	// Memory is where inputs are written and scores are read.
	Memory() *tensor.Memory
	// Run computes the outputs of the first rows. It ends soon after the context.
	Run(ctx context.Context, rows int) error
	// Close frees the memory.
	Close() error
}

// Options tune a queue; the zero value is right for most models.
type Options struct {
	// Instances is how many runs may be under way side by side; 0 means one for each processor.
	Instances int
	// MaxRows is the most rows of a run; 0 means [DefaultMaxRows].
	MaxRows int
	// MaxDelay is how long a run may be held back, when nothing else runs, for more rows to come; 0 means not at all.
	MaxDelay time.Duration
	// Sizes are the numbers of rows that runs may have, ascending: a run is padded to the next. Empty means any.
	// The last one is the most rows of a run.
	Sizes []int
	// QueueRows is the most rows that wait; 0 means [DefaultQueueRows].
	QueueRows int
}

// Defaults of [Options].
const (
	DefaultMaxRows   = 256
	DefaultQueueRows = 16384
)

// keptBatches is how much memory a queue keeps for requests to come; pages that nobody wrote to are none.
const keptBatches = 1024

// Queue is where requests for runs of one model wait. It is safe for concurrent use.
type Queue struct {
	options Options
	make    func(rows int) (Batch, error)
	items   sync.Pool    // of *item
	delay   atomic.Int64 // mean of noteDelay, in nanoseconds; of updates at once one may be lost

	mu      sync.Mutex // guards what follows, and the states of items
	free    []Batch
	idle    sync.Cond // told when running falls to 0
	waiting []*item   // most urgent first
	rows    int       // of waiting
	coming  []coming  // rows that were admitted and are not here yet, by priority: there are few
	since   time.Time // from when on MaxDelay counts
	turns   []turn    // under way
	running int
	cost    cost
	doubt   doubt
	closed  bool
	stats   Stats
	timer   *time.Timer
	owned   sync.WaitGroup // timers and shared runs
}

// Stats is what a queue has done; all but Waiting and the cost only grow.
type Stats struct {
	// Runs and Rows count what was run, padding not included; Requests is how many requests that were.
	Runs, Rows, Requests uint64
	// Refused counts requests refused on arrival, Shed those that waited and could not be served in time.
	Refused, Shed uint64
	// Waiting is how many rows wait now.
	Waiting int
	// PerRow and PerRun are the fit: the time of a run is PerRow × rows + PerRun.
	PerRow, PerRun time.Duration
}

// New makes a queue for a model whose memory for so many rows newBatch makes.
func New(newBatch func(rows int) (Batch, error), o Options) *Queue {
	if o.Instances == 0 {
		o.Instances = runtime.GOMAXPROCS(0)
	}
	if o.MaxRows == 0 {
		o.MaxRows = DefaultMaxRows
	}
	if n := len(o.Sizes); n > 0 {
		o.MaxRows = o.Sizes[n-1]
	}
	if o.QueueRows == 0 {
		o.QueueRows = DefaultQueueRows
	}
	o.QueueRows = max(o.QueueRows, o.MaxRows) // a whole run may wait
	q := &Queue{options: o, make: newBatch, doubt: firstDoubt}
	q.idle.L = &q.mu
	return q
}

// MaxRows is the most rows of a run, and so of a request.
func (q *Queue) MaxRows() int { return q.options.MaxRows }

// Take gives memory for a request of up to MaxRows rows, which goes back by Release.
func (q *Queue) Take() (Batch, error) {
	q.mu.Lock()
	if n := len(q.free); n > 0 {
		b := q.free[n-1] // the one that was in use last is in the processor's caches still
		q.free = q.free[:n-1]
		q.mu.Unlock()
		return b, nil
	}
	q.mu.Unlock()
	return q.make(q.options.MaxRows)
}

// Release takes memory back. A run that was asked for on it must have returned.
func (q *Queue) Release(b Batch) {
	q.mu.Lock()
	if !q.closed && len(q.free) < keptBatches {
		q.free = append(q.free, b)
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	_ = b.Close()
}

// Request says how urgent a run is and takes its scores.
type Request struct {
	// Rows is how many of the first rows of the memory are asked for.
	Rows int
	// Shape sets requests apart that cannot share a run.
	Shape int
	// Priority goes before deadlines: the highest first.
	Priority int
	// Admission is what was admitted, if anything was.
	Admission *Admission
	// Scores takes the scores, appended.
	Scores []float32
}

// Run runs the model on the first rows of a batch, with those of others, and returns when the scores are there. The deadline of
// the context says how urgent it is. It fails with a [RefusedError] when the deadline cannot be met, at once where that can be
// foreseen. waited is how long the request waited for its run to begin.
func (q *Queue) Run(ctx context.Context, b Batch, r Request) (scores []float32, waited time.Duration, err error) {
	defer r.Admission.Withdraw() // where it comes to nothing
	if err := context.Cause(ctx); err != nil {
		return r.Scores, 0, err
	}
	if r.Rows < 1 || r.Rows > q.options.MaxRows {
		return r.Scores, 0, fmt.Errorf("a run of %d rows was asked for; a run has 1 to %d", r.Rows, q.options.MaxRows)
	}
	it := q.newItem(ctx, b, r)
	now := time.Now()
	q.mu.Lock()
	r.Admission.keep()
	if err := q.enqueue(it, now); err != nil {
		q.mu.Unlock()
		return r.Scores, 0, err
	}
	alone := q.start(now, it)
	q.mu.Unlock()
	if !alone && !q.wait(ctx, it) {
		return r.Scores, time.Since(now), context.Cause(ctx)
	}
	if len(it.run) > 0 {
		q.alone(ctx, it)
	}
	scores, err, waited = it.Scores, it.err, it.claimed.Sub(now)
	if it.scored.IsZero() {
		q.noteDelay(0)
	} else {
		q.noteDelay(time.Since(it.scored))
	}
	q.recycle(it)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return scores, waited, err
}

// noteDelay takes how long a caller's goroutine took to go on when it had its scores: on a busy machine that is part of an answer's time.
func (q *Queue) noteDelay(delay time.Duration) {
	old := q.delay.Load()
	q.delay.Store(old + (int64(delay)-old)/fit.Memory)
}

// wait waits until an item is to run alone, or has its scores or an error. It is false when the context ended before; then the item
// is another's.
func (q *Queue) wait(ctx context.Context, it *item) bool {
	select {
	case <-it.wake:
		return true
	case <-ctx.Done():
	}
	q.mu.Lock()
	switch it.state {
	case waiting:
		q.remove(it)
		q.mu.Unlock()
		return false
	case copied:
		it.state = gone
		q.mu.Unlock()
		return false
	default: // its rows are being copied, or it is being woken
		it.leaving = true
		q.mu.Unlock()
		<-it.wake
		return true
	}
}

// Stats says what the queue has done.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Waiting = q.rows
	s.PerRow, s.PerRun = q.cost.Time(1)-q.cost.Time(0), q.cost.Time(0)
	return s
}

// Close refuses what waits and what comes, waits for the runs under way, and frees the memory that is not in use; the rest goes
// when it is released.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	if q.timer != nil && q.timer.Stop() {
		q.owned.Done()
	}
	for _, it := range slices.Clone(q.waiting) {
		q.remove(it)
		it.finish(ErrClosed)
	}
	for q.running > 0 {
		q.idle.Wait()
	}
	q.mu.Unlock()
	q.owned.Wait()
	var err error
	for _, b := range q.free {
		err = errors.Join(err, b.Close())
	}
	q.free = nil
	return err
}
