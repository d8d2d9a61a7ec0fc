package predictions

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is how far a cache is used.
type Mode int32

// The modes: everything is looked up; nothing is; or one key in [sampleOf] is, to find out whether the cache would pay.
const (
	On Mode = iota
	Off
	Sampling
)

const (
	// windowLookups and sampledLookups are the least that is judged by, all and of a sample, and longestWindow the longest that a window has to last.
	windowLookups, sampledLookups = 1000, 100
	longestWindow                 = 10 * time.Second
	// firstRest is how long a cache is off before it is tried; each time in vain doubles that, up to lastRest.
	firstRest, lastRest = time.Minute, 16 * time.Minute
	// sampleOf is of how many keys one is looked up while the cache is tried: the same ones, so that they are hit as often as all would be.
	sampleOf = 64
	// outlier is how many times the mean cost a lookup may count: one during which the process was not scheduled says nothing of the cache.
	outlier = 8
)

// Gate turns a cache off while it costs more than it saves. It is safe for concurrent use.
type Gate struct {
	now    func() time.Time
	period time.Duration
	turned func(on bool, cost, saved time.Duration)
	seed   maphash.Seed

	mode  atomic.Int32
	until atomic.Int64 // the end of a rest, in nanoseconds since 1970

	mu     sync.Mutex // guards what follows, and changes of mode
	window window
	cold   bool          // the window before had an empty cache to begin with, and this one is the first
	mean   float64       // of a lookup's cost, in nanoseconds; 0 while nothing is known
	rest   time.Duration // that comes next
}

type window struct {
	start       time.Time
	lookups     int
	cost, saved time.Duration
}

// NewGate makes a gate that is on. It judges by windows of at least a period, and calls turned, if it is not nil, when it turns on or off.
func NewGate(period time.Duration, now func() time.Time, turned func(on bool, cost, saved time.Duration)) *Gate {
	return &Gate{now: now, period: period, turned: turned, seed: maphash.MakeSeed(), cold: true, rest: firstRest, window: window{start: now()}}
}

// Mode is what to do now.
func (g *Gate) Mode() Mode {
	mode := Mode(g.mode.Load())
	if mode != Off || g.now().UnixNano() < g.until.Load() {
		return mode
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if Mode(g.mode.Load()) == Off {
		g.begin(Sampling, g.now())
		g.cold = true
	}
	return Mode(g.mode.Load())
}

// Sampled says whether a key is of the sample.
func (g *Gate) Sampled(key []byte) bool { return maphash.Bytes(g.seed, key)%sampleOf == 0 }

// Observe takes what lookups cost, with keeping what they missed, and what they saved.
func (g *Gate) Observe(lookups int, cost, saved time.Duration) {
	if lookups == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	mode := Mode(g.mode.Load())
	if mode == Off {
		return // it was begun before
	}
	w := &g.window
	each := float64(cost) / float64(lookups)
	if g.mean > 0 {
		each = min(each, outlier*g.mean)
	}
	g.mean += (each - g.mean) / outlier
	w.lookups, w.cost, w.saved = w.lookups+lookups, w.cost+time.Duration(each*float64(lookups)), w.saved+saved
	least := windowLookups
	if mode == Sampling {
		least = sampledLookups
	}
	if now := g.now(); w.lookups >= least && now.Sub(w.start) >= g.period {
		g.judge(mode, now)
	}
}

// judge ends a window.
func (g *Gate) judge(mode Mode, now time.Time) {
	w, cold := g.window, g.cold
	g.window, g.cold = window{start: now}, false
	switch pays := w.saved >= w.cost; {
	case pays && mode == On:
		g.rest = firstRest
	case pays:
		g.turn(On, w, now)
	case cold: // a cache fills before it saves anything
	default:
		g.until.Store(now.Add(g.rest).UnixNano())
		g.rest = min(2*g.rest, lastRest)
		if mode == On {
			g.turn(Off, w, now)
			return
		}
		g.begin(Off, now)
	}
}

// turn changes between on and off, and tells.
func (g *Gate) turn(mode Mode, w window, now time.Time) {
	g.begin(mode, now)
	g.cold = true
	if g.turned != nil {
		g.turned(mode == On, w.cost, w.saved)
	}
}

func (g *Gate) begin(mode Mode, now time.Time) {
	g.mode.Store(int32(mode))
	g.window = window{start: now}
}
