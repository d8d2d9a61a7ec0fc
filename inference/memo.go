package inference

import (
	"bytes"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/inference/tensor"
)

const (
	// A memo has memoSets sets of memoWays rows.
	memoSets, memoWays = 1 << 12, 4
	// cacheLine is that of most processors, in bytes.
	cacheLine = 64
	// maxRemembered is the largest row that is remembered, and memoBytes about the most memory for rows of all memos of the process.
	maxRemembered, memoBytes = 1 << 10, 64 << 20
	// rememberedOverhead is about what a row takes beside its bytes and values.
	rememberedOverhead = 96
	// A memo is judged by so many rows, and when fewer than one of worthOf was remembered it does without the next restRows.
	judgedRows, worthOf, restRows = 1 << 14, 4, 1 << 18
)

// budget bounds memory.
type budget struct {
	most  int64
	bytes atomic.Int64
}

// memoBudget is that of all memos: a process may serve many models.
var memoBudget = &budget{most: memoBytes}

// memo remembers what the rows of a view became in a model's input. The values of a row follow from its bytes and from the hop that the
// time of the read is in, so the same bytes until the same hop ends give the same numbers: nothing that it gives is old, and bytes
// are compared whole. Popular candidates are decoded once between two events of theirs, and not in each request.
//
// A row is kept when it is missed twice running in its set, so that rows that come once leave nothing behind. It is safe for
// concurrent use.
type memo struct {
	reader *fold.Reader
	places []segment
	values int // floats of a row
	sets   []memoSet
	budget *budget
	bytes  *atomic.Int64 // of the budget, given back when the memo is collected

	looked, found atomic.Int64 // since it was judged
	rest          atomic.Int64 // rows still to be done without
	hits, misses  atomic.Uint64
}

// segment is columns of one tensor that stand one after the other.
type segment struct{ input, column, n int }

// memoSet has the rows whose stamps end alike. The tags, the upper halves of their stamps, spare most looks at other rows. It takes a
// line of the processor's cache.
type memoSet struct {
	rows   [memoWays]atomic.Pointer[remembered]
	tags   [memoWays]atomic.Uint32
	missed atomic.Uint32 // tag of the row that was missed last
	_      [3]uint32
}

// remembered is a row that was decoded; it is immutable.
type remembered struct {
	from, until int64 // for which times of a read it holds, in microseconds
	newest      int64
	data        []byte // the row, and behind it the values, in the processor's order of bytes: one piece is fewer lines of its cache
	row         uint32 // bytes of data
	present     uint32
	others      *[featurestore.Statuses]uint32 // nil when all values are present
}

// newMemo is the memo of a candidates' view, nil where its values are not single numbers of float tensors.
func newMemo(reader *fold.Reader, places []placement, inputs []tensor.Info) *memo {
	m := &memo{reader: reader, sets: make([]memoSet, memoSets), values: len(places), budget: memoBudget, bytes: &atomic.Int64{}}
	runtime.AddCleanup(m, func(bytes *atomic.Int64) { memoBudget.bytes.Add(-bytes.Load()) }, m.bytes)
	for i := range places {
		p := &places[i]
		if !p.isNumber() || inputs[p.input].Type != tensor.Float32 {
			return nil
		}
		if n := len(m.places); n > 0 {
			if last := &m.places[n-1]; last.input == int(p.input) && last.column+last.n == int(p.column) {
				last.n++
				continue
			}
		}
		m.places = append(m.places, segment{input: int(p.input), column: int(p.column), n: 1})
	}
	return m
}

// on says whether the memo is to be asked for so many rows.
func (m *memo) on(rows int) bool {
	return m != nil && (m.rest.Load() <= 0 || m.rest.Add(-int64(rows)) <= 0)
}

// Remembered says how many rows of candidates were found among those that were decoded before, and how many were looked for in vain.
func (h *Hop) Remembered() (hits, misses uint64) {
	for _, m := range h.memos {
		if m != nil {
			hits, misses = hits+m.hits.Load(), misses+m.misses.Load()
		}
	}
	return hits, misses
}

// note takes how many rows were looked up and found.
func (m *memo) note(looked, found int) {
	m.hits.Add(uint64(found))
	m.misses.Add(uint64(looked - found))
	all, hits := m.looked.Add(int64(looked)), m.found.Add(int64(found))
	if all < judgedRows {
		return
	}
	m.looked.Store(0) // what others add meanwhile is lost, and counts for nothing
	m.found.Store(0)
	if hits*worthOf < all {
		m.rest.Store(restRows)
	}
}

func (m *memo) set(row []byte) (set *memoSet, tag uint32) {
	stamp := fold.Stamp(row)
	return &m.sets[stamp%memoSets], uint32(stamp >> 32)
}

// look finds rows that may be those asked for, nil where there is none; they are still to be compared. It goes over all of them in turn for
// their sets, then for what those have, and then for its memory, so that the processor waits for many of them at once and not for one after the
// other. touched is of no use, but that what is only read ahead is not optimised away.
func (m *memo) look(dst []*remembered, rows Rows, first, n int) (found []*remembered, touched uint32) {
	found = slices.Grow(dst[:0], n)[:n]
	for i := range found {
		set, _ := m.set(rows.Row(first + i))
		touched += set.missed.Load()
	}
	for i := range found {
		set, tag := m.set(rows.Row(first + i))
		found[i] = set.find(tag)
	}
	for _, r := range found {
		if r != nil {
			touched += r.present
		}
	}
	for _, r := range found {
		if r == nil {
			continue
		}
		for at := 0; at < len(r.data); at += cacheLine {
			touched += uint32(r.data[at])
		}
	}
	return found, touched
}

// find is the row of a tag, nil when there is none.
func (s *memoSet) find(tag uint32) *remembered {
	for way := range s.tags {
		if s.tags[way].Load() == tag {
			return s.rows[way].Load()
		}
	}
	return nil
}

// is says whether what was found is what a row gives at a time.
func (r *remembered) is(row []byte, t int64) bool {
	return r != nil && r.from <= t && t < r.until && bytes.Equal(r.data[:r.row], row)
}

// keep remembers a row that was decoded at a time into a row of the input memory, with the statuses that were counted for it.
func (m *memo) keep(row []byte, t int64, slabs []slab, at int, counted *[featurestore.Statuses]uint32) {
	if len(row) == 0 || len(row) > maxRemembered {
		return
	}
	set, tag := m.set(row)
	way, again := set.place(tag, t)
	if !again && set.missed.Swap(tag) != tag {
		return
	}
	until := m.reader.SteadyUntil(row, t)
	if until <= t || !m.room(m.size(row)-m.sizeOf(set.rows[way].Load())) {
		return
	}
	r := &remembered{
		from: t, until: until, newest: m.reader.Newest(row), data: append(make([]byte, 0, len(row)+4*m.values), row...),
		row: uint32(len(row)), present: counted[featurestore.Present],
	}
	if int(r.present) != m.values {
		others := *counted
		others[featurestore.Present], r.others = 0, &others
	}
	for _, p := range m.places {
		s := &slabs[p.input]
		from := at*s.width + p.column
		r.data = append(r.data, bytesOf(s.floats[from:from+p.n])...)
	}
	grown := m.size(row) - m.sizeOf(set.rows[way].Swap(r))
	set.tags[way].Store(tag)
	m.bytes.Add(grown)
	m.budget.bytes.Add(grown)
}

// room says whether so many bytes more may be kept.
func (m *memo) room(bytes int64) bool {
	return bytes <= 0 || m.budget.bytes.Load()+bytes <= m.budget.most
}

// size is about how much memory a row takes.
func (m *memo) size(row []byte) int64 { return int64(len(row) + 4*m.values + rememberedOverhead) }

func (m *memo) sizeOf(r *remembered) int64 {
	if r == nil {
		return 0
	}
	return m.size(r.data[:r.row])
}

// place is where a row goes: over what was remembered of it for another time, over nothing, over what has become useless, or over
// any.
func (s *memoSet) place(tag uint32, t int64) (way int, again bool) {
	way = int(tag % memoWays)
	for i := range s.rows {
		r := s.rows[i].Load()
		if r != nil && s.tags[i].Load() == tag {
			return i, true
		}
		if r == nil || r.until <= t {
			way = i
		}
	}
	return way, false
}

// put writes what is remembered to a row of the input memory.
func (m *memo) put(r *remembered, slabs []slab, at int, res *Result) {
	values := r.data[r.row:]
	for _, p := range m.places {
		s := &slabs[p.input]
		values = values[copy(bytesOf(s.floats[at*s.width+p.column:][:p.n]), values):]
	}
	res.Newest = max(res.Newest, r.newest)
	res.Statuses[featurestore.Present] += r.present
	if r.others != nil {
		for status, n := range r.others {
			res.Statuses[status] += n
		}
	}
}

// bytesOf are the bytes of floats, in the processor's order.
func bytesOf(floats []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(floats))), 4*len(floats))
}
