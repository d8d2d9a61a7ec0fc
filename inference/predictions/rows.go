package predictions

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/onehop/onehop/inference/batching"
)

// Rows stands before the queue of a model and keeps the score of each row by all bytes of its inputs: only rows that it lacks are run. A
// row that is being run for another request is waited for. It is safe for concurrent use.
type Rows struct {
	queue *batching.Queue
	cache *otter.Cache[string, *scored]
	gate  *Gate
	looks sync.Pool // of *look

	hits, misses, bypassed atomic.Uint64
}

// scored is the score of a row, once its run has landed.
type scored struct {
	run   *run
	score float32
}

// run is a run of the model that rows are waiting for.
type run struct {
	landed atomic.Bool   // the scores are there
	done   chan struct{} // closed when it has landed or failed
}

// errAbandoned is the error of a run that ended in a panic.
var errAbandoned = errors.New("the run was abandoned")

// NewRows keeps scores of the model behind a queue, which stays the caller's.
func NewRows(k Kind, of Of, queue *batching.Queue, log *slog.Logger) *Rows {
	return newRows(k, queue, k.gate("exact", of, log), nil)
}

// newRows makes a cache by a clock; nil for the system's.
func newRows(k Kind, queue *batching.Queue, gate *Gate, clock otter.Clock) *Rows {
	return &Rows{
		queue: queue, gate: gate,
		cache: otter.Must(&otter.Options[string, *scored]{
			MaximumWeight: k.bytes(), Clock: clock,
			Weigher:          func(key string, _ *scored) uint32 { return uint32(len(key) + entryOverhead) },
			ExpiryCalculator: otter.ExpiryCreating[string, *scored](k.TTL),
		}),
	}
}

// Close drops what is kept; it is called when nothing is run any more.
func (r *Rows) Close() {
	r.cache.StopAllGoroutines()
	r.cache.InvalidateAll()
}

// Stats says what the cache has done.
func (r *Rows) Stats() Stats {
	return Stats{Hits: r.hits.Load(), Misses: r.misses.Load(), Bypassed: r.bypassed.Load(), Bytes: r.cache.WeightedSize(), On: r.gate.Mode() == On}
}

// Run is [batching.Queue.Run] for the rows that the cache lacks. It may change the memory of the batch.
func (r *Rows) Run(ctx context.Context, b batching.Batch, req batching.Request) (scores []float32, waited time.Duration, err error) {
	mode := r.gate.Mode()
	if mode == Off {
		return r.RunAll(ctx, b, req)
	}
	if err := context.Cause(ctx); err != nil {
		return req.Scores, 0, err
	}
	l := r.newLook()
	defer r.recycle(l)
	start := time.Now()
	l.find(b.Memory(), req.Rows, mode)
	asked := req
	first := len(req.Scores)
	asked.Scores = append(req.Scores, l.scores...)
	if err := l.spareJoined(b); err != nil {
		l.land(nil, err)
		return req.Scores, 0, err
	}
	l.compact(b.Memory())
	cost := time.Since(start)
	if len(l.missing) > 0 {
		if waited, err = l.runMissing(ctx, b, req, asked.Scores[first:]); err != nil {
			return req.Scores, waited, err
		}
	}
	if err := l.join(ctx, req, asked.Scores[first:]); err != nil {
		return req.Scores, waited, err
	}
	r.account(l, cost)
	return asked.Scores, waited, nil
}

// RunAll runs all rows, without a look at the cache.
func (r *Rows) RunAll(ctx context.Context, b batching.Batch, req batching.Request) (scores []float32, waited time.Duration, err error) {
	r.bypassed.Add(uint64(req.Rows))
	return r.queue.Run(ctx, b, req)
}

// account counts what a request found, and tells the gate what that cost and saved.
func (r *Rows) account(l *look, cost time.Duration) {
	rows := len(l.scores)
	hits := rows - len(l.missing)
	r.hits.Add(uint64(hits))
	r.bypassed.Add(uint64(l.unsampled))
	r.misses.Add(uint64(len(l.missing) - l.unsampled))
	cost += l.keeping
	var saved time.Duration
	if hits > 0 {
		s := r.queue.Stats()
		saved = time.Duration(hits) * s.PerRow
		switch {
		case len(l.missing) == 0:
			saved += s.PerRun
		case l.unsampled > 0: // all that is known of what whole hits would save
			saved += s.PerRun * time.Duration(hits) / time.Duration(rows)
		}
	}
	if l.unsampled > 0 {
		cost = l.lookup + l.keeping*time.Duration(len(l.keys))/time.Duration(len(l.missing)) // what is paid for sampling is no cost of the cache
	}
	r.gate.Observe(rows-l.unsampled, cost, saved)
}

// unsafeString is a string over bytes that do not change while it is in use.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (r *Rows) newLook() *look {
	l, ok := r.looks.Get().(*look)
	if !ok {
		l = &look{}
	}
	l.rows = r
	return l
}

// recycle gives a look back. Its run and its entries are others' too.
func (r *Rows) recycle(l *look) {
	if l.spare != nil {
		r.queue.Release(l.spare)
	}
	clear(l.entries)
	clear(l.keys)
	clear(l.joined)
	*l = look{
		scores: l.scores[:0], missing: l.missing[:0], entries: l.entries[:0], keys: l.keys[:0], joined: l.joined[:0], key: l.key[:0], out: l.out[:0],
	}
	r.looks.Put(l)
}

// take keeps a row that is about to be run, unless another has come first.
func (l *look) take(key []byte) (entry *scored, mine bool) {
	if l.run == nil {
		l.run = &run{done: make(chan struct{})}
	}
	name := strings.Clone(unsafeString(key))
	entry, mine = l.rows.cache.SetIfAbsent(name, &scored{run: l.run})
	if mine {
		l.keys = append(l.keys, name)
	}
	return entry, mine
}
