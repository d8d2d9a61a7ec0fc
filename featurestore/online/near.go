package online

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Near is a cache of rows in the memory of a service, for views whose definition says how old a copy of a row may be. A row that is
// asked for when it has half that age is read anew behind the caller's back, so that rows that are in use stay fresh without anybody's waiting.
// Older copies are kept while there is room, for callers who would rather have them than nothing while Redis is away. It is safe
// for concurrent use.
type Near struct {
	rows    *otter.Cache[string, *copied]
	now     func() time.Time
	store   *Store
	metrics nearMetrics
	refresh chan refresh
	done    chan struct{}

	mu      sync.Mutex
	flights map[string]*flight // reads of rows under way, by cache key
}

// copied is a copy of a row as it was at some time; nil when there was none.
type copied struct {
	row        []byte
	at         int64 // in nanoseconds
	refreshing atomic.Bool
}

// refresh asks for a row to be read anew.
type refresh struct {
	view     *View
	key      []byte
	cacheKey string
	old      *copied
}

type nearMetrics struct {
	lookups *prometheus.CounterVec
	age     prometheus.Histogram
}

const (
	// nearOverhead is about what an entry takes beside its key and row.
	nearOverhead = 160
	// refreshRows is the most rows that are read anew at once, and waitingRefreshes how many may wait to be.
	refreshRows, waitingRefreshes = 512, 4096
)

// StartNear makes a cache of up to so many bytes in front of a store, whose reads use it when they say so. It reads rows anew
// until Close.
func (s *Store) StartNear(ctx context.Context, maxBytes int64, registry prometheus.Registerer) *Near {
	n := &Near{
		store: s, now: time.Now, refresh: make(chan refresh, waitingRefreshes), done: make(chan struct{}),
		flights: map[string]*flight{},
		metrics: nearMetrics{
			lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
				Name: "onehop_near_cache_rows_total", Help: "Rows looked up in the near cache by outcome: hit, miss, or stale, which is an old copy given because Redis was away.",
			}, []string{"outcome"}),
			age: prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "onehop_near_cache_age_seconds", Help: "Age of the oldest copy in a read that had any.", Buckets: prometheus.ExponentialBuckets(.001, 4, 10),
			}),
		},
		rows: otter.Must(&otter.Options[string, *copied]{
			MaximumWeight: uint64(maxBytes),
			Weigher:       func(key string, c *copied) uint32 { return uint32(len(key) + len(c.row) + nearOverhead) },
		}),
	}
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "onehop_near_cache_bytes", Help: "Bytes of the near cache."},
		func() float64 { return float64(n.rows.WeightedSize()) })
	registry.MustRegister(n.metrics.lookups, n.metrics.age, size)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(n.done)
		n.keepFresh(ctx)
	}()
	s.near, s.stopNear = n, cancel
	return n
}

// Close ends the reading of rows; it is called when nothing is read any more.
func (n *Near) Close() {
	n.store.stopNear()
	<-n.done
	n.rows.StopAllGoroutines()
}

// keepFresh reads rows anew until the context ends, as many at once as ask for it.
func (n *Near) keepFresh(ctx context.Context) {
	var asked []refresh
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-n.refresh:
			asked = append(asked[:0], r)
		}
		for len(asked) < refreshRows && len(n.refresh) > 0 {
			asked = append(asked, <-n.refresh)
		}
		read := n.store.NewRead()
		read.UseNear(0)
		for _, r := range asked {
			read.copies.kept = append(read.copies.kept, kept{key: r.cacheKey, row: len(read.rows)})
			read.fetch(r.view, r.key)
		}
		if read.Do(ctx) != nil || read.Filling() {
			for _, r := range asked { // the copies grow older, and somebody asks again
				r.old.refreshing.Store(false)
			}
		}
		read.Release()
	}
}

// find looks for a copy that is no older than the view allows.
func (n *Near) find(view *View, cacheKey string, entityKey []byte, now int64) *copied {
	c, ok := n.rows.GetIfPresent(cacheKey)
	if !ok {
		return nil
	}
	age := time.Duration(now - c.at)
	if age > view.near {
		return nil
	}
	if age > view.near/2 && c.refreshing.CompareAndSwap(false, true) {
		select {
		case n.refresh <- refresh{view: view, key: bytes.Clone(entityKey), cacheKey: strings.Clone(cacheKey), old: c}:
		default: // too many wait: it is read when it is too old
			c.refreshing.Store(false)
		}
	}
	return c
}

// board finds the read of a row that is under way, or begins one, which the caller must land.
func (n *Near) board(key string) (f *flight, mine bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.flights[key]; f != nil {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	n.flights[key] = f
	return f, true
}

// land ends the read of a row, once.
func (n *Near) land(k *kept, row []byte, filling bool, err error) {
	f := k.flight
	if f == nil {
		return
	}
	k.flight = nil
	f.row, f.filling, f.err = row, filling, err
	n.mu.Lock()
	delete(n.flights, k.key)
	n.mu.Unlock()
	close(f.done)
}
