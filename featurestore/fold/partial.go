package fold

import (
	"cmp"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// partial is one column of a tile set while it is being folded: one partial
// aggregate for each tile. Partials over the same field and of the same kind are
// shared by all features of a tile set.
//
// A new kind of partial is one file: the type, and its entry in newPartial.
type partial interface {
	// insert makes room for an empty tile at index i.
	insert(i int)
	// drop forgets the n oldest tiles.
	drop(n int)
	// fold folds a field's value, null or not, into tile i.
	fold(i int, v *featurestore.Value)
	// append packs the column.
	append(dst []byte) []byte
	// decode sets the column to the n tiles packed at the start of src.
	decode(src []byte, n int) (rest []byte, err error)
}

// partialKind names a kind of partial; the numbers are not stored.
type partialKind uint8

const (
	countPartial partialKind = iota
	intSumPartial
	floatSumPartial
	floatLostPartial
	intMinPartial
	intMaxPartial
	floatMinPartial
	floatMaxPartial
	squaresPartial
	distinctPartial
	quantilePartial
)

// partialSpec is what a feature asks of a tile set.
type partialSpec struct {
	kind   partialKind
	field  int // index of the field, -1 for "every event"
	filter int // index of the filter, -1 for none
}

// newPartials makes the columns of a tile set. A column may use those before it.
func newPartials(specs []partialSpec) []partial {
	columns := make([]partial, len(specs))
	for i, spec := range specs {
		columns[i] = newPartial(spec.kind)
		switch c := columns[i].(type) {
		case *floatLost: // what rounding lost is kept beside the sum that lost it
			c.of = find(columns, specs, floatSumPartial, spec).(*floatSums)
		case *squares:
			c.count = countOf(columns, specs, spec)
			switch sum := find(columns, specs, intSumPartial, spec).(type) {
			case *intSums:
				c.mean = func(i int) float64 { return sum.tiles[i].float() / float64(c.count.tiles[i]) }
			default:
				sums := find(columns, specs, floatSumPartial, spec).(*floatSums)
				c.mean = func(i int) float64 { return sums.tiles[i].value() / float64(c.count.tiles[i]) }
			}
		}
	}
	return columns
}

// find is the column of a kind over the same field and filter as another, nil for none.
func find(columns []partial, specs []partialSpec, kind partialKind, beside partialSpec) partial {
	beside.kind = kind
	if i := slices.Index(specs, beside); i >= 0 {
		return columns[i]
	}
	return nil
}

// countOf is the count of the values that another column holds; it stands before it.
func countOf(columns []partial, specs []partialSpec, beside partialSpec) *counts {
	if c := find(columns, specs, countPartial, beside); c != nil {
		return c.(*counts)
	}
	beside.field = -1 // a required field: the count of events stands for it
	return find(columns, specs, countPartial, beside).(*counts)
}

func newPartial(kind partialKind) partial {
	switch kind {
	case countPartial:
		return &counts{}
	case intSumPartial:
		return &intSums{}
	case floatSumPartial:
		return &floatSums{}
	case floatLostPartial:
		return &floatLost{}
	case intMinPartial:
		return &extremes[int64]{get: intOf, better: less[int64], pack: packExtremeInts, unpack: column.int}
	case intMaxPartial:
		return &extremes[int64]{get: intOf, better: greater[int64], pack: packExtremeInts, unpack: column.int}
	case floatMinPartial:
		return &extremes[float64]{get: floatOf, better: less[float64], pack: packExtremeFloats, unpack: column.float}
	case floatMaxPartial:
		return &extremes[float64]{get: floatOf, better: greater[float64], pack: packExtremeFloats, unpack: column.float}
	case squaresPartial:
		return &squares{}
	case distinctPartial:
		return &sketches[distinctSketch, *distinctSketch]{}
	default:
		return &sketches[quantileSketch, *quantileSketch]{}
	}
}

// floatOf is a float field; minus zero is zero, so that the first of equals to come does
// not matter.
func floatOf(v *featurestore.Value) float64 {
	if x := v.Float(); x != 0 {
		return x
	}
	return 0
}

func intOf(v *featurestore.Value) int64 { return v.Int() }

func less[T cmp.Ordered](a, b T) bool    { return a < b }
func greater[T cmp.Ordered](a, b T) bool { return a > b }

// cells is the storage that partials share.
type cells[T any] struct{ tiles []T }

func (c *cells[T]) insert(i int) {
	var empty T
	c.tiles = slices.Insert(c.tiles, i, empty)
}

func (c *cells[T]) drop(n int) { c.tiles = append(c.tiles[:0], c.tiles[n:]...) }

func (c *cells[T]) load(src []byte, n int, get func(column, int) T) ([]byte, error) {
	col, rest, err := nextColumn(src, n)
	if err != nil {
		return nil, err
	}
	c.tiles = c.tiles[:0]
	for i := range n {
		c.tiles = append(c.tiles, get(col, i))
	}
	return rest, nil
}

// counts counts events, or the values of a field that are not null.
type counts struct{ cells[int64] }

func (c *counts) fold(i int, v *featurestore.Value) {
	if !v.IsNull() {
		c.tiles[i]++
	}
}
func (c *counts) append(dst []byte) []byte                 { return appendInts(dst, c.tiles) }
func (c *counts) decode(src []byte, n int) ([]byte, error) { return c.load(src, n, column.int) }

// intSums sums an int64 field.
type intSums struct{ cells[wide] }

func (c *intSums) fold(i int, v *featurestore.Value) {
	if !v.IsNull() {
		c.tiles[i] = c.tiles[i].add(wideOf(v.Int()))
	}
}
func (c *intSums) append(dst []byte) []byte                 { return appendWides(dst, c.tiles) }
func (c *intSums) decode(src []byte, n int) ([]byte, error) { return c.load(src, n, column.wide) }

// floatSums sums a float64 field; what rounding loses goes to the floatLost beside it.
type floatSums struct{ cells[compensated] }

func (c *floatSums) fold(i int, v *featurestore.Value) {
	if !v.IsNull() {
		c.tiles[i].add(v.Float())
	}
}

func (c *floatSums) append(dst []byte) []byte {
	return packFloats(dst, c.tiles, func(s *compensated) float64 { return s.sum })
}

func (c *floatSums) decode(src []byte, n int) ([]byte, error) {
	return c.load(src, n, func(col column, i int) compensated { return compensated{sum: col.float(i)} })
}

// floatLost packs and unpacks the lost part of a floatSums, which does the folding.
type floatLost struct{ of *floatSums }

func (c *floatLost) insert(int)                    {}
func (c *floatLost) drop(int)                      {}
func (c *floatLost) fold(int, *featurestore.Value) {}

func (c *floatLost) append(dst []byte) []byte {
	return packFloats(dst, c.of.tiles, func(s *compensated) float64 {
		if !finite(s.lost) {
			return 0 // the sum overflowed, and says so itself
		}
		return s.lost
	})
}

func (c *floatLost) decode(src []byte, n int) ([]byte, error) {
	col, rest, err := nextColumn(src, n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		c.of.tiles[i].lost = col.float(i)
	}
	return rest, nil
}

// extremes keeps the least or the greatest value of a field. A tile without one
// holds zero; the count of the field beside it tells.
type extremes[T cmp.Ordered] struct {
	cells[extreme[T]]
	get    func(*featurestore.Value) T
	better func(a, b T) bool
	pack   func([]byte, []extreme[T]) []byte
	unpack func(column, int) T
}

type extreme[T any] struct {
	value T
	some  bool
}

func packExtremeInts(dst []byte, tiles []extreme[int64]) []byte {
	return packInts(dst, tiles, func(e *extreme[int64]) int64 { return e.value })
}

func packExtremeFloats(dst []byte, tiles []extreme[float64]) []byte {
	return packFloats(dst, tiles, func(e *extreme[float64]) float64 { return e.value })
}

func (c *extremes[T]) fold(i int, v *featurestore.Value) {
	if v.IsNull() {
		return
	}
	if x := c.get(v); !c.tiles[i].some || c.better(x, c.tiles[i].value) {
		c.tiles[i] = extreme[T]{value: x, some: true}
	}
}

func (c *extremes[T]) append(dst []byte) []byte {
	return c.pack(dst, c.tiles)
}

// decode cannot tell an empty tile from a zero; fixEmpty does, from the count.
func (c *extremes[T]) decode(src []byte, n int) ([]byte, error) {
	return c.load(src, n, func(col column, i int) extreme[T] { return extreme[T]{value: c.unpack(col, i), some: true} })
}

func (c *extremes[T]) fixEmpty(counts []int64) {
	for i, n := range counts {
		c.tiles[i].some = n > 0
	}
}
