package fold

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// quantileAggregate is a quantile of a field's values, within 1.6 % of its true value;
// null when there are none. It is a DDSketch (C. Masson, J. Rim and H. Lee, "DDSketch: a
// fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019)
// whose bins are taken from the bits of the floats: a sign, an exponent, and 32 bins to
// each power of two, so that no logarithm is needed and every machine finds the same bin.
//
// A tile keeps the 256 greatest bins that are not empty and adds the counts of lesser
// values to the least of them: low quantiles of values that spread over more than eight
// powers of two may be too high, and none is ever too low by more than the bound. Numbers
// nearer to zero than 2⁻¹⁰²² are off by that at most.
var quantileAggregate = aggregate{
	windows:  required,
	field:    required,
	takes:    takesQ,
	sketch:   true,
	result:   numberOnly("quantile", alwaysFloat),
	partials: func(featurestore.Type) []partialKind { return []partialKind{quantilePartial} },
	read: func(o *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
		readQuantile(o.feature.Q, &columns[0], lo, n, cell)
	},
	readExact: exactQuantile,
}

const (
	// maxBins is the most bins of a tile.
	maxBins = 256
	// binBits is the number of bits of a float's fraction that choose its bin.
	binBits = 5
	// binShift cuts the other bits off.
	binShift = 52 - binBits
)

// bin counts the values of one bin. Keys are in the order of values.
type bin struct {
	key   int32
	count int64
}

// binOf is the key of a value's bin: 0 for zero, and for others one more than the first
// bits of the float, with its sign.
func binOf(x float64) int32 {
	key := int32(math.Float64bits(math.Abs(x))>>binShift) + 1
	switch {
	case x > 0:
		return key
	case x < 0:
		return -key
	default:
		return 0
	}
}

// middle is the value that is off by the least factor, wherever in the bin a value is: the
// harmonic mean of the bin's bounds.
func middle(key int32) float64 {
	if key == 0 {
		return 0
	}
	sign := 1.0
	if key < 0 {
		sign, key = -1, -key
	}
	low := math.Float64frombits(uint64(key-1) << binShift)
	high := math.Float64frombits(uint64(key) << binShift)
	if math.IsInf(high, 0) {
		high = math.MaxFloat64
	}
	return sign * low * (2 / (1 + low/high))
}

// quantileSketch is the bins of one tile, in order.
type quantileSketch struct{ bins []bin }

func (q *quantileSketch) reset() { q.bins = q.bins[:0] }

func (q *quantileSketch) add(v *featurestore.Value) {
	x, _ := v.Number()
	key := binOf(x)
	i, found := slices.BinarySearchFunc(q.bins, key, func(b bin, key int32) int { return int(b.key) - int(key) })
	if found {
		q.bins[i].count++
		return
	}
	q.bins = slices.Insert(q.bins, i, bin{key: key, count: 1})
	if len(q.bins) > maxBins {
		q.bins[1].count += q.bins[0].count
		q.bins = slices.Delete(q.bins, 0, 1)
	}
}

// append packs each bin as the distance of its key from the one before, and its count.
func (q *quantileSketch) append(dst []byte) []byte {
	before := int32(0)
	for i, b := range q.bins {
		if i == 0 {
			dst = binary.AppendVarint(dst, int64(b.key))
		} else {
			dst = binary.AppendUvarint(dst, uint64(b.key-before))
		}
		dst = binary.AppendUvarint(dst, uint64(b.count))
		before = b.key
	}
	return dst
}

func (q *quantileSketch) decode(packed []byte) error {
	q.reset()
	w := binWalk{data: packed}
	for w.next() {
		q.bins = append(q.bins, w.bin)
	}
	if w.damaged || len(q.bins) > maxBins {
		return errTruncated
	}
	return nil
}

func (q *quantileSketch) inspect() featurestore.Value {
	list := make([]featurestore.Value, 0, len(q.bins))
	for _, b := range q.bins {
		list = append(list, featurestore.FloatValue(middle(b.key)), featurestore.IntValue(b.count))
	}
	return featurestore.ListValue(featurestore.Float64, list)
}

// binWalk walks over the packed bins of a tile.
type binWalk struct {
	data    []byte
	bin     bin
	some    bool
	damaged bool
}

func (w *binWalk) next() bool {
	if len(w.data) == 0 {
		return false
	}
	var key int64
	var n int
	if !w.some {
		key, n = binary.Varint(w.data)
	} else {
		var step uint64
		step, n = binary.Uvarint(w.data)
		key = int64(w.bin.key) + int64(min(step, math.MaxUint32))
	}
	if n <= 0 {
		w.damaged, w.data = true, nil
		return false
	}
	count, m := binary.Uvarint(w.data[n:])
	if m <= 0 || key > binLimit || key < -binLimit || count > math.MaxInt64 {
		w.damaged, w.data = true, nil
		return false
	}
	w.data = w.data[n+m:]
	w.bin, w.some = bin{key: int32(key), count: int64(count)}, true
	return true
}

// binLimit is the greatest key: that of the greatest float.
const binLimit = 0x7ff << binBits

// fewTiles is room on the stack; only windows of more tiles allocate.
const fewTiles = 64

// readQuantile finds the bin of the value of rank q·(n−1) among all tiles of a window.
func readQuantile(q float64, c *column, lo, n int, cell *featurestore.Cell) {
	var room [fewTiles]binWalk
	walks := room[:0]
	if n-lo > fewTiles {
		walks = make([]binWalk, 0, n-lo)
	}
	total := int64(0)
	for b := c.blobs(lo); lo < n; lo++ {
		packed, err := b.next()
		if err != nil {
			break
		}
		for w := (binWalk{data: packed}); w.next(); {
			total += w.bin.count
		}
		if w := (binWalk{data: packed}); w.next() {
			walks = append(walks, w)
		}
	}
	if total == 0 {
		setNull(cell, featurestore.Null)
		return
	}
	rank := int64(q * float64(total-1))
	for len(walks) > 0 {
		least := 0
		for i := range walks {
			if walks[i].bin.key < walks[least].bin.key {
				least = i
			}
		}
		w := &walks[least]
		if rank < w.bin.count {
			setFloat(cell, middle(w.bin.key))
			return
		}
		rank -= w.bin.count
		if !w.next() {
			walks[least] = walks[len(walks)-1]
			walks = walks[:len(walks)-1]
		}
	}
	setNull(cell, featurestore.Overflow) // the counts of a sound row never add up to less
}

// exactQuantile is the value of rank q·(n−1).
func exactQuantile(o *output, values []featurestore.Value, cell *featurestore.Cell) {
	if len(values) == 0 {
		setNull(cell, featurestore.Null)
		return
	}
	number := func(v featurestore.Value) float64 { x, _ := v.Number(); return x }
	slices.SortFunc(values, func(a, b featurestore.Value) int { return cmp.Compare(number(a), number(b)) })
	setFloat(cell, number(values[int(o.feature.Q*float64(len(values)-1))]))
}
