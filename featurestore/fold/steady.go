package fold

import (
	"math"

	"github.com/onehop/onehop/featurestore"
)

// SteadyUntil is the end of the time for which [Reader.Read] gives of a row what it gives at t: until then no window moves on to its next
// hop and nothing expires. It is t itself for rows and columns of which that is not known: those with values that change with every
// moment, such as decayed sums, or that expire one by one.
func (r *Reader) SteadyUntil(row []byte, t int64) int64 {
	p := r.program
	if p.check(row) != nil {
		return t
	}
	newest := newestTime(row)
	now, until := ReadTime(t, newest), int64(math.MaxInt64)
	for _, limit := range []int64{p.ttl, p.retention} {
		if limit > 0 && now-newest <= limit {
			until = min(until, newest+limit+1)
		}
	}
	for i := range r.sections {
		until = min(until, r.sectionSteady(i, t, now))
	}
	return until
}

// sectionSteady is SteadyUntil of one section of a row that is read as of now.
func (r *Reader) sectionSteady(i int, t, now int64) int64 {
	want, until := &r.sections[i], int64(math.MaxInt64)
	switch p := r.program; {
	case len(want.edge) > 0:
		if !p.edges[i].isNewest() && (p.ttl > 0 || p.retention > 0) { // it may be older than the row
			return t
		}
	case len(want.targets) == 0:
	case i < p.firstSet():
		return t
	default:
		for _, w := range want.windows {
			until = min(until, nextStart(w, now))
		}
	}
	return until
}

// nextStart is when a window begins to start later than it does at t.
func nextStart(w featurestore.Window, t int64) int64 {
	switch {
	case w.Length == featurestore.Lifetime:
		return math.MaxInt64
	case w.Hop == 0:
		return t
	}
	length, hop := w.Length.Microseconds(), w.Hop.Microseconds()
	return w.Start(max(t, length)) + hop + length
}
