package fold

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// maxTiles is the most tiles a window may have.
const maxTiles = math.MaxUint16 - 1

// tileSet says what the tiles of one hop keep. A lifetime has one tile, of hop 0.
type tileSet struct {
	hop time.Duration
	// sketch sets keep sketches. They stand apart, so that a long window of numbers over the
	// same hop does not make more of the large tiles.
	sketch bool
	// us is the hop in microseconds, and reach how many tiles before that of the newest event
	// the longest window covers; see seal.
	us, reach int64
	// all says that every event leaves something in its tile.
	all bool
	// longest is the longest window read from these tiles; it decides when a tile
	// leaves.
	longest featurestore.Window
	specs   []partialSpec
}

// index is the number of the tile that holds an event time.
func (s *tileSet) index(t int64) int64 {
	if s.hop == 0 {
		return 0
	}
	return t / s.us // event times are positive
}

// first is the oldest tile that a read at t or later can need. Windows are whole numbers of
// hops.
func (s *tileSet) first(t int64) int64 { return s.index(t) - s.reach }

// seal computes what folding needs when the set has all its windows and columns.
func (s *tileSet) seal() {
	s.us = s.hop.Microseconds()
	if s.hop > 0 {
		s.reach = int64(s.longest.Length / s.hop)
	}
	s.all = slices.ContainsFunc(s.specs, func(spec partialSpec) bool { return spec.filter < 0 })
}

// maxTiles is the most tiles that can be alive at once.
func (s *tileSet) maxTiles() int {
	if s.hop == 0 {
		return 1
	}
	return int(s.longest.Length/s.hop) + 2
}

// distanceWidth is the bytes in which a tile's distance from the newest is packed.
func (s *tileSet) distanceWidth() int {
	if s.maxTiles() <= math.MaxUint8 {
		return 1
	}
	return 2
}

// tiles is a tile set being folded: the tiles' indexes, oldest first, and a column
// for each partial.
type tiles struct {
	set     *tileSet
	indexes []int64
	columns []partial
}

func newTiles(set *tileSet) *tiles {
	return &tiles{set: set, columns: newPartials(set.specs)}
}

func (t *tiles) reset() { t.drop(len(t.indexes)) }

func (t *tiles) drop(n int) {
	t.indexes = append(t.indexes[:0], t.indexes[n:]...)
	for _, c := range t.columns {
		c.drop(n)
	}
}

// fold folds an event into its tile. newest is the newest event time of the row,
// this event's included; tiles that no read after it can need leave, and an event
// that belongs to such a tile is late and not needed either. pass says which filters the
// event passes.
func (t *tiles) fold(e *featurestore.Event, newest int64, pass []bool) (late bool) {
	first, index := t.set.first(newest+1), t.set.index(e.Time)
	if len(t.indexes) > 0 && t.indexes[0] < first {
		expired, _ := slices.BinarySearch(t.indexes, first)
		t.drop(expired)
	}
	if index < first {
		return true
	}
	if !t.set.all && !t.set.wants(pass) {
		return false
	}
	i := t.tile(index)
	for c := range t.columns {
		if spec := &t.set.specs[c]; passes(pass, spec.filter) {
			t.columns[c].fold(i, valueOf(e, spec.field))
		}
	}
	return false
}

// tile is the position of a tile, which is made when it is not there. Most events belong to
// the newest.
func (t *tiles) tile(index int64) int {
	if last := len(t.indexes) - 1; last >= 0 && t.indexes[last] == index {
		return last
	}
	i, found := slices.BinarySearch(t.indexes, index)
	if !found {
		t.indexes = slices.Insert(t.indexes, i, index)
		for _, c := range t.columns {
			c.insert(i)
		}
	}
	return i
}

// wants says whether an event has something to leave in a tile: a row with little in it
// has few tiles.
func (s *tileSet) wants(pass []bool) bool {
	return slices.ContainsFunc(s.specs, func(spec partialSpec) bool { return passes(pass, spec.filter) })
}

// passes says whether an event passes a filter, or there is none.
func passes(pass []bool, filter int) bool { return filter < 0 || pass[filter] }

// everyEvent is what a count of events counts.
var everyEvent = featurestore.BoolValue(true)

func valueOf(e *featurestore.Event, field int) *featurestore.Value {
	if field < 0 {
		return &everyEvent
	}
	return &e.Values[field]
}

func (t *tiles) append(dst []byte) []byte {
	n := len(t.indexes)
	dst = binary.AppendUvarint(dst, uint64(n))
	if n == 0 {
		return dst
	}
	newest := t.indexes[n-1]
	dst = binary.AppendUvarint(dst, uint64(newest))
	for _, index := range t.indexes {
		if t.set.distanceWidth() == 1 {
			dst = append(dst, byte(newest-index))
		} else {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(newest-index))
		}
	}
	for _, c := range t.columns {
		dst = c.append(dst)
	}
	return dst
}

func (t *tiles) decode(src []byte) error {
	t.reset()
	packed, rest, err := t.set.open(src)
	if err != nil || packed.n == 0 {
		return err
	}
	for i := range packed.n {
		t.indexes = append(t.indexes, packed.newest-int64(packed.distance(i)))
	}
	for i, c := range t.columns {
		if rest, err = c.decode(rest, packed.n); err != nil {
			t.indexes = t.indexes[:0]
			t.columns = newPartials(t.set.specs)
			return err
		}
		if e, ok := c.(interface{ fixEmpty(counts []int64) }); ok {
			e.fixEmpty(countOf(t.columns, t.set.specs, t.set.specs[i]).tiles)
		}
	}
	return nil
}

// packedTiles is the head of a packed tile set; it aliases the row.
type packedTiles struct {
	n         int
	newest    int64
	distances []byte
	width     int
}

func (p *packedTiles) distance(i int) int {
	if p.width == 1 {
		return int(p.distances[i])
	}
	return int(binary.LittleEndian.Uint16(p.distances[2*i:]))
}

// open takes the head of a packed tile set; rest starts with the first column.
func (s *tileSet) open(src []byte) (p packedTiles, rest []byte, err error) {
	n, src, err := uvarint(src)
	if err != nil || n == 0 {
		return p, src, err
	}
	newest, src, err := uvarint(src)
	if err != nil {
		return p, nil, err
	}
	width := s.distanceWidth()
	if n > maxTiles || newest > math.MaxInt64 || uint64(len(src)) < n*uint64(width) {
		return p, nil, errTruncated
	}
	size := int(n) * width
	p = packedTiles{n: int(n), newest: int64(newest), distances: src[:size], width: width}
	return p, src[size:], nil
}

// since is the position of the first tile that starts at or after index: the first of all
// where the window is the longest, else searched from the newest, as most windows are
// short.
func (p *packedTiles) since(index int64) int {
	reach := p.newest - index
	if p.n > 0 && int64(p.distance(0)) <= reach {
		return 0
	}
	i := p.n
	for i > 0 && int64(p.distance(i-1)) <= reach {
		i--
	}
	return i
}

func uvarint(src []byte) (v uint64, rest []byte, err error) {
	v, n := binary.Uvarint(src)
	if n <= 0 {
		return 0, nil, errTruncated
	}
	return v, src[n:], nil
}
