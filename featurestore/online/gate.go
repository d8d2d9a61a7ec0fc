package online

import (
	"sync"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/fit"
)

// gate keeps reads out that would not end in time. With more callers than the machine can serve all reads would take so long that none
// is in time, and one that is given up costs a connection besides. How long a read takes that begins while so many keys are being
// read, the reads before it tell, those given up too.
type gate struct {
	mu    sync.Mutex
	reads int      // under way
	keys  int      // of them
	takes fit.Line // a read's time, by the keys under way with its own
}

// turn is a read that was let in.
type turn struct {
	keys, among int
	start       time.Time
}

// enter lets a read in whose deadline, if it has one, leaves it the time; who was let in leaves. Where nothing else is being read it
// is tried, whatever reads took so far. The error is featurestore.Exhausted, and says when another try has a chance.
func (g *gate) enter(keys int, deadline time.Time) (turn, error) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	among := g.keys + keys
	if !deadline.IsZero() && g.reads > 0 {
		left, takes := max(0, deadline.Sub(now)), g.takes.Time(among)+g.takes.Margin()
		if takes > left {
			return turn{}, featurestore.Errorf(featurestore.Exhausted, "the features cannot be read in time: beside the %d reads that are under way it may take %s, and %s are left",
				g.reads, takes.Round(10*time.Microsecond), left.Round(10*time.Microsecond)).After(takes - left)
		}
	}
	g.reads++
	g.keys += keys
	return turn{keys: keys, among: among, start: now}, nil
}

func (g *gate) leave(t turn) {
	took := time.Since(t.start)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads--
	g.keys -= t.keys
	g.takes.Observe(t.among, took)
}
