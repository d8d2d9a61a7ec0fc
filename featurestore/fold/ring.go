package fold

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// ring keeps the newest events of exact windows: of a feature with exact: N, the N newest
// values that are not null, in the order of positions, newest first. Features over the same
// field, with the same filter and N, share one.
type ring struct {
	spec    *keptSpec
	longest int64 // µs
	entries []lastEntry
	// dropped is the time of the newest event for which there was no room, 0 for none: a
	// window that reaches back to it is not complete.
	dropped int64
}

func newRing(spec *keptSpec) *ring {
	return &ring{spec: spec, longest: spec.longest.Microseconds()}
}

func (r *ring) reset() { r.entries, r.dropped = r.entries[:0], 0 }

func (r *ring) fold(e *featurestore.Event) {
	v := valueOf(e, r.spec.field)
	if v.IsNull() {
		return
	}
	i, _ := slices.BinarySearchFunc(r.entries, e.Position, func(entry lastEntry, at featurestore.Position) int {
		return at.Compare(entry.at)
	})
	r.entries = slices.Insert(r.entries, i, lastEntry{at: e.Position, value: v.Clone()})
	if n := r.spec.exact; len(r.entries) > n {
		r.dropped = max(r.dropped, r.entries[n].at.Time)
		r.entries = r.entries[:n]
	}
	// What no read after the newest event can need leaves.
	start := max(0, r.entries[0].at.Time+1-r.longest)
	for n := len(r.entries); r.entries[n-1].at.Time < start; n = len(r.entries) {
		r.entries = r.entries[:n-1]
	}
	if r.dropped < start {
		r.dropped = 0
	}
}

func (r *ring) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.dropped))
	dst = binary.AppendUvarint(dst, uint64(len(r.entries)))
	for _, e := range r.entries {
		dst = appendPosition(dst, e.at)
		if r.spec.field >= 0 {
			dst = appendValue(dst, e.value)
		}
	}
	return dst
}

func (r *ring) decode(src []byte) (err error) {
	r.reset()
	r.dropped, err = r.spec.eachEntry(src, func(e lastEntry) bool {
		r.entries = append(r.entries, e)
		return true
	})
	return err
}

// eachEntry calls yield for each packed entry of a ring, newest first, until it says stop,
// and returns the time of the newest event that was dropped.
func (k *keptSpec) eachEntry(src []byte, yield func(lastEntry) bool) (dropped int64, err error) {
	at, src, err := uvarint(src)
	if err != nil || at > math.MaxInt64 {
		return 0, errTruncated
	}
	n, src, err := uvarint(src)
	if err != nil {
		return 0, err
	}
	for range n {
		e := lastEntry{value: everyEvent}
		if e.at, src, err = readPosition(src); err != nil {
			return 0, err
		}
		if k.field >= 0 {
			if e.value, src, err = readValue(src, k.typ); err != nil {
				return 0, err
			}
		}
		if !yield(e) {
			break
		}
	}
	return int64(at), nil
}

func (k *keptSpec) ringBytes() int {
	entry := maxPositionBytes
	if k.field >= 0 {
		entry += maxValueBytes(k.typ, k.bound)
	}
	return 2*binary.MaxVarintLen64 + k.exact*entry
}

// ringReader reads a feature from a ring: it folds the events of the window into the
// partials of one tile and reads that tile.
type ringReader struct {
	spec *keptSpec
	pool sync.Pool // of *ringScratch
}

type ringScratch struct {
	columns []partial
	values  []featurestore.Value
	packed  []byte
}

func newRingReader(spec *keptSpec, agg *aggregate) *ringReader {
	var specs []partialSpec
	for _, kind := range agg.partials(spec.typ) {
		specs = append(specs, partialSpec{kind: kind, filter: -1})
	}
	return &ringReader{spec: spec, pool: sync.Pool{New: func() any { return &ringScratch{columns: newPartials(specs)} }}}
}

func (r *ringReader) read(packed []byte, o *output, over span, cell *featurestore.Cell) error {
	s := r.pool.Get().(*ringScratch)
	defer r.pool.Put(s)
	s.values = s.values[:0]
	dropped, err := r.spec.eachEntry(packed, func(e lastEntry) bool {
		if e.at.Time >= over.from {
			s.values = append(s.values, e.value)
		}
		return e.at.Time >= over.from
	})
	switch {
	case err != nil:
		return err
	case dropped >= over.from && dropped > 0:
		setNull(cell, featurestore.Overflow)
		return nil
	case o.agg.readExact != nil:
		o.agg.readExact(o, s.values, cell)
		return nil
	}
	return s.tile(o, cell)
}

// tile reads the values as one tile.
func (s *ringScratch) tile(o *output, cell *featurestore.Cell) error {
	s.packed = s.packed[:0]
	for _, c := range s.columns {
		c.insert(0)
	}
	for i := range s.values {
		for _, c := range s.columns {
			c.fold(0, &s.values[i])
		}
	}
	for _, c := range s.columns {
		s.packed = c.append(s.packed)
	}
	for _, c := range s.columns {
		c.drop(1)
	}
	var columns columnSet
	rest := s.packed
	for i := range s.columns {
		var err error
		if columns[i], rest, err = nextColumn(rest, 1); err != nil {
			return err
		}
	}
	o.agg.read(o, columns, 0, 1, cell)
	return nil
}

// longestOf is the longest window of a feature.
func longestOf(f *featurestore.Feature) (longest time.Duration) {
	for _, w := range f.Windows {
		longest = max(longest, w.Length)
	}
	return longest
}
