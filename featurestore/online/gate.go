package online

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/fit"
)

const (
	// silence is how long no read has been answered, while some were under way, when it is not callers who are too many.
	silence = 100 * time.Millisecond
	// maxRetry bounds when those that are refused are told to try again.
	maxRetry = time.Second
)

// gate keeps reads out that would not end in time. With more callers than the machine can serve all reads would take so long that none
// is in time, and one that is given up costs a connection besides. How long a read takes that begins while so many keys are being
// read, the reads before it tell, those given up too.
type gate struct {
	mu       sync.Mutex
	reads    int      // under way
	keys     int      // of them
	takes    fit.Line // a read's time, by the keys under way with its own
	answered time.Time
	refusals float64 // share of those that came lately
	refused  uint64
}

// turn is a read that was let in.
type turn struct {
	keys, among int
	start       time.Time
}

// enter lets a read in whose deadline, if it has one, leaves it the time; who was let in leaves. Where few others are being read it is
// tried, whatever reads took so far: it is not them that it would wait for. The error is featurestore.Exhausted, or featurestore.Unavailable
// when nothing is answered at all, and says when another try has a chance.
func (g *gate) enter(keys int, deadline time.Time) (turn, error) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reads == 0 {
		g.answered = now // from now on somebody waits for that
	}
	among := g.keys + keys
	if !deadline.IsZero() && g.reads >= alwaysTried {
		left, takes := max(0, deadline.Sub(now)), g.takes.Time(among)+g.takes.Margin()
		if takes > left {
			return turn{}, g.refuse(now, takes, left)
		}
	}
	g.refusals -= g.refusals / fit.Memory
	g.reads++
	g.keys += keys
	return turn{keys: keys, among: among, start: now}, nil
}

// alwaysTried is how many reads may be under way before one is refused: one for each processor.
var alwaysTried = runtime.GOMAXPROCS(0)

// refuse words a refusal. Who is told to try again when the reads under way have ended would come with all others who were: the time is
// longer by as many times as there were refusals for one who was let in.
func (g *gate) refuse(now time.Time, takes, left time.Duration) error {
	g.refused++
	g.refusals += (1 - g.refusals) / fit.Memory
	retry := min(time.Duration(float64(takes)/(1-g.refusals)), maxRetry)
	if silent := now.Sub(g.answered); silent > silence {
		return noAnswer(fmt.Errorf("none of %d reads under way was answered for %s", g.reads, silent.Round(time.Millisecond))).After(retry)
	}
	return featurestore.Errorf(featurestore.Exhausted, "the features cannot be read in time: beside the %d reads that are under way it may take %s, and %s are left",
		g.reads, takes.Round(10*time.Microsecond), left.Round(10*time.Microsecond)).After(retry)
}

// leave ends a read; answered says that it was not given up.
func (g *gate) leave(t turn, answered bool) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads--
	g.keys -= t.keys
	g.takes.Observe(t.among, now.Sub(t.start))
	if answered {
		g.answered = now
	}
}

// Refused is how many reads were refused because they would have been late.
func (s *Store) Refused() uint64 {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	return s.gate.refused
}
