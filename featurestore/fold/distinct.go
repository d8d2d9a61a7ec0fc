package fold

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/onehop/onehop/featurestore"
)

// distinctAggregate is the number of different values of a field. It is exact up to 256
// values, told apart by 64-bit hashes, and beyond that estimated with a standard error of
// 2.3 %, by HyperLogLog with 2,048 registers (P. Flajolet and others, "HyperLogLog: the
// analysis of a near-optimal cardinality estimation algorithm", 2007) and the estimator of
// O. Ertl ("New cardinality estimation algorithms for HyperLogLog sketches", 2017,
// algorithm 6). A window without values is a present zero.
var distinctAggregate = aggregate{
	windows: required,
	field:   required,
	sketch:  true,
	result: func(t featurestore.Type) (featurestore.Type, error) {
		if t.IsList() {
			return 0, fmt.Errorf("distinct needs a scalar field; it is %s", t)
		}
		return featurestore.Int64, nil
	},
	partials: func(featurestore.Type) []partialKind { return []partialKind{distinctPartial} },
	read: func(_ *output, columns columnSet, lo, n int, cell *featurestore.Cell) {
		var d distinctUnion
		for b := columns[0].blobs(lo); lo < n; lo++ {
			packed, err := b.next()
			if err != nil {
				break // the column was checked when it was found
			}
			d.merge(packed)
		}
		setInt(cell, d.count())
	},
	readExact: func(_ *output, values []featurestore.Value, cell *featurestore.Cell) {
		slices.SortFunc(values, func(a, b featurestore.Value) int { return cmp.Compare(hashOf(&a), hashOf(&b)) })
		different := slices.CompactFunc(values, func(a, b featurestore.Value) bool { return hashOf(&a) == hashOf(&b) })
		setInt(cell, int64(len(different)))
	},
}

const (
	// maxHashes is how many values are kept exactly.
	maxHashes = 256
	// hllBits is the number of bits of a hash that choose a register.
	hllBits      = 11
	hllRegisters = 1 << hllBits
	// maxRank is the greatest value of a register.
	maxRank = 64 - hllBits + 1
	// denseBytes is a packed sketch of registers; exact ones have a multiple of 8.
	denseBytes = hllRegisters + 1
)

// distinctSketch is the set of values of one tile: the hashes in order while they are few,
// and else the registers.
type distinctSketch struct {
	hashes []uint64
	dense  []byte // nil while the hashes are kept
	room   []byte // registers to be used again
}

func (d *distinctSketch) reset() {
	d.hashes = d.hashes[:0]
	if d.dense != nil {
		d.room, d.dense = d.dense, nil
	}
}

func (d *distinctSketch) add(v *featurestore.Value) {
	h := hashOf(v)
	if d.dense != nil {
		observe(d.dense, h)
		return
	}
	i, found := slices.BinarySearch(d.hashes, h)
	if found {
		return
	}
	if len(d.hashes) < maxHashes {
		d.hashes = slices.Insert(d.hashes, i, h)
		return
	}
	if d.room == nil {
		d.room = make([]byte, hllRegisters)
	}
	clear(d.room)
	d.dense = d.room
	for _, h := range d.hashes {
		observe(d.dense, h)
	}
	observe(d.dense, h)
	d.hashes = d.hashes[:0]
}

func (d *distinctSketch) append(dst []byte) []byte {
	if d.dense != nil {
		return append(append(dst, 1), d.dense...)
	}
	for _, h := range d.hashes {
		dst = binary.LittleEndian.AppendUint64(dst, h)
	}
	return dst
}

func (d *distinctSketch) decode(packed []byte) error {
	d.reset()
	if len(packed) == denseBytes {
		if slices.Max(packed[1:]) > maxRank {
			return errTruncated
		}
		d.dense = append(d.room[:0], packed[1:]...)
		return nil
	}
	if len(packed)%8 != 0 || len(packed) > 8*maxHashes {
		return errTruncated
	}
	for ; len(packed) > 0; packed = packed[8:] {
		d.hashes = append(d.hashes, binary.LittleEndian.Uint64(packed))
	}
	return nil
}

func (d *distinctSketch) inspect() featurestore.Value {
	if d.dense != nil {
		return featurestore.IntValue(estimate(d.dense))
	}
	return featurestore.IntValue(int64(len(d.hashes)))
}

// distinctUnion merges the packed sketches of a window without allocating: it is exact
// until it holds more than maxHashes values.
type distinctUnion struct {
	n      int
	hashes [maxHashes]uint64
	dense  [hllRegisters]byte
	full   bool
}

func (d *distinctUnion) merge(packed []byte) {
	if len(packed) == denseBytes {
		d.fill()
		for i, r := range packed[1:] {
			d.dense[i] = max(d.dense[i], r)
		}
		return
	}
	for ; len(packed) >= 8; packed = packed[8:] {
		d.add(binary.LittleEndian.Uint64(packed))
	}
}

func (d *distinctUnion) add(h uint64) {
	if !d.full {
		i, found := slices.BinarySearch(d.hashes[:d.n], h)
		if found {
			return
		}
		if d.n < maxHashes {
			copy(d.hashes[i+1:d.n+1], d.hashes[i:d.n])
			d.hashes[i] = h
			d.n++
			return
		}
		d.fill()
	}
	observe(d.dense[:], h)
}

// fill goes over to registers.
func (d *distinctUnion) fill() {
	if d.full {
		return
	}
	d.full = true
	for _, h := range d.hashes[:d.n] {
		observe(d.dense[:], h)
	}
}

func (d *distinctUnion) count() int64 {
	if !d.full {
		return int64(d.n)
	}
	return estimate(d.dense[:])
}

// hashOf tells values apart. The bytes of a number are mixed as text is.
func hashOf(v *featurestore.Value) uint64 {
	if v.Type == featurestore.String || v.Type == featurestore.Bytes {
		return xxhash.Sum64(v.Bytes)
	}
	number := v.Num
	if v.Type == featurestore.Float64 && v.Float() == 0 {
		number = 0 // minus zero is zero
	}
	var room [8]byte
	binary.LittleEndian.PutUint64(room[:], number)
	return xxhash.Sum64(room[:])
}

// observe lets a register know a hash: its first bits choose the register, which keeps the
// longest run of zeros, and one, in the others.
func observe(registers []byte, h uint64) {
	rank := min(bits.LeadingZeros64(h<<hllBits), 64-hllBits) + 1
	at := h >> (64 - hllBits)
	registers[at] = max(registers[at], byte(rank))
}

// estimate is the number of values that the registers stand for.
func estimate(registers []byte) int64 {
	var histogram [maxRank + 1]int
	for _, r := range registers {
		histogram[min(r, maxRank)]++
	}
	const m = float64(hllRegisters)
	z := m * tau(1-float64(histogram[maxRank])/m)
	for k := maxRank - 1; k >= 1; k-- {
		z = 0.5 * (z + float64(histogram[k]))
	}
	z += m * sigma(float64(histogram[0])/m)
	return int64(math.Round(m * m / (2 * math.Ln2 * z)))
}

// sigma and tau are the series of Ertl's estimator for registers that are empty and for
// those that are full.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}
