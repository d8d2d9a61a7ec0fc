package predictions

import (
	"context"
	"encoding/binary"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Answers keeps what a version answered by what was asked for. Of equal requests at the same time one is answered, and the others wait for it.
// It is safe for concurrent use.
type Answers struct {
	cache  *otter.Cache[string, *answer]
	gate   *Gate
	ttl    time.Duration
	now    func() time.Time
	shared *sharedAnswers // nil when they are not shared

	hits, misses, bypassed atomic.Uint64

	mu      sync.Mutex
	flights map[string]*flight
	mean    float64 // of the times that answers took to compute, in nanoseconds
}

// answer is what was answered, and until when it counts.
type answer struct {
	value []byte
	until time.Time
}

// flight is an answer that is being computed.
type flight struct {
	done   chan struct{}
	answer *answer // nil when it failed or cannot be kept
	left   bool    // its caller went away
}

// Question is what one request asks for.
type Question struct {
	// Key appends the bytes of all that the answer follows from but the version, in one way for equal requests.
	Key func(dst []byte) ([]byte, error)
	// Compute answers. The value is kept, and becomes the cache's, unless it is nil.
	Compute func(context.Context) (value []byte, err error)
}

// Found is an answer of a cache.
type Found struct {
	// Value is nil when the answer was computed here; else it must not be changed.
	Value []byte
	// Left is how long the answer may be kept from now on.
	Left time.Duration
}

// NewAnswers keeps answers of a version, and shares them when shared is not nil.
func NewAnswers(k Kind, of Of, shared *Shared, log *slog.Logger) *Answers {
	a := newAnswers(k, k.gate("request", of, log), time.Now)
	if shared != nil {
		a.shared = shared.of(of, k)
	}
	return a
}

func newAnswers(k Kind, gate *Gate, now func() time.Time) *Answers {
	a := &Answers{gate: gate, ttl: k.TTL, now: now, flights: map[string]*flight{}}
	a.cache = otter.Must(&otter.Options[string, *answer]{
		MaximumWeight: k.bytes(),
		Weigher:       func(key string, a *answer) uint32 { return uint32(len(key) + len(a.value) + entryOverhead) },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, *answer]) time.Duration {
			return max(1, e.Value.until.Sub(a.now()))
		}),
	})
	return a
}

// Close drops what is kept; it is called when nothing is asked any more.
func (a *Answers) Close() {
	a.cache.StopAllGoroutines()
	a.cache.InvalidateAll()
}

// TTL is how long an answer counts.
func (a *Answers) TTL() time.Duration { return a.ttl }

// Stats says what the cache has done.
func (a *Answers) Stats() Stats {
	return Stats{Hits: a.hits.Load(), Misses: a.misses.Load(), Bypassed: a.bypassed.Load(), Bytes: a.cache.WeightedSize(), On: a.gate.Mode() == On}
}

// Bypass counts a request that wants no answer of a cache.
func (a *Answers) Bypass() { a.bypassed.Add(1) }

// Get answers a question, by the cache if it can. Its error is that of Compute, or of the context.
func (a *Answers) Get(ctx context.Context, q *Question) (Found, error) {
	mode := a.gate.Mode()
	if mode == Off {
		return a.direct(ctx, q)
	}
	start := time.Now()
	key, err := q.Key(nil)
	if err != nil {
		return Found{}, err
	}
	if mode == Sampling && !a.gate.Sampled(key) {
		return a.direct(ctx, q)
	}
	for {
		if found, ok := a.find(key); ok {
			return a.hit(found, time.Since(start)), nil
		}
		f, mine := a.board(string(key))
		if mine {
			return a.lead(ctx, q, key, f, start)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return Found{}, context.Cause(ctx)
		}
		switch {
		case f.answer != nil:
			return a.hit(f.answer, 0), nil
		case !f.left:
			return a.direct(ctx, q)
		}
	}
}

// direct computes an answer and keeps nothing.
func (a *Answers) direct(ctx context.Context, q *Question) (Found, error) {
	a.Bypass()
	answer, err := a.compute(ctx, q)
	return a.computed(answer), err
}

// compute answers, or returns nil for what is not to be kept. An answer counts from before its features were read, not from when the model
// was done with them.
func (a *Answers) compute(ctx context.Context, q *Question) (*answer, error) {
	until := a.now().Add(a.ttl)
	value, err := q.Compute(ctx)
	if err != nil || value == nil {
		return nil, err
	}
	return &answer{value: value, until: until}, nil
}

// computed is an answer of now; nil is one that is not to be kept.
func (a *Answers) computed(of *answer) Found {
	if of == nil {
		return Found{}
	}
	return Found{Left: of.until.Sub(a.now())}
}

func (a *Answers) find(key []byte) (*answer, bool) {
	found, ok := a.cache.GetIfPresent(unsafeString(key))
	return found, ok && a.now().Before(found.until)
}

// hit takes an answer whose lookup cost so much.
func (a *Answers) hit(found *answer, cost time.Duration) Found {
	a.hits.Add(1)
	a.mu.Lock()
	saved := time.Duration(a.mean)
	a.mu.Unlock()
	a.gate.Observe(1, cost, saved)
	return Found{Value: found.value, Left: found.until.Sub(a.now())}
}

// board finds the answer to a question that is being computed, or begins one, which the caller must lead.
func (a *Answers) board(key string) (f *flight, mine bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.flights[key]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	a.flights[key] = f
	return f, true
}

// lead answers for all who wait: with what another instance has, or by computing.
func (a *Answers) lead(ctx context.Context, q *Question, key []byte, f *flight, start time.Time) (found Found, err error) {
	defer func() {
		f.left = ctx.Err() != nil
		a.land(string(key), f)
	}()
	if kept, ok := a.find(key); ok { // it landed meanwhile
		f.answer = kept
		return a.hit(kept, time.Since(start)), nil
	}
	if f.answer = a.shared.get(ctx, key, a.now()); f.answer != nil {
		a.cache.Set(string(key), f.answer)
		return a.hit(f.answer, time.Since(start)), nil
	}
	a.misses.Add(1)
	cost := time.Since(start)
	start = time.Now()
	f.answer, err = a.compute(ctx, q)
	took := time.Since(start)
	if err != nil {
		return Found{}, err
	}
	a.note(took)
	if f.answer != nil {
		start = time.Now()
		a.cache.Set(string(key), f.answer)
		a.shared.put(key, f.answer)
		cost += time.Since(start)
	}
	a.gate.Observe(1, cost, 0)
	return a.computed(f.answer), nil
}

// note takes the time that an answer took to compute.
func (a *Answers) note(took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mean == 0 {
		a.mean = float64(took)
		return
	}
	a.mean += (min(float64(took), outlier*a.mean) - a.mean) / outlier
}

func (a *Answers) land(key string, f *flight) {
	a.mu.Lock()
	delete(a.flights, key)
	a.mu.Unlock()
	close(f.done)
}

// appendOf appends the version, so that no other's answer has the same key.
func appendOf(dst []byte, of Of) []byte {
	return appendTexts(dst, []string{of.Model, strconv.Itoa(of.Version), of.Digest})
}

// appendKeyed appends a value behind its key.
func appendKeyed(dst, key, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	return append(append(dst, key...), value...)
}

// keyed is the value of an entry if it has the key; ok is false for another's, or for what is no entry.
func keyed(entry, key []byte) (value []byte, ok bool) {
	n, size := binary.Uvarint(entry)
	if size <= 0 || n != uint64(len(key)) || uint64(len(entry)-size) < n {
		return nil, false
	}
	entry = entry[size:]
	return entry[n:], string(entry[:n]) == string(key)
}
