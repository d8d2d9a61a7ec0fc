package fold

import (
	"encoding/binary"
	"math"

	"github.com/onehop/onehop/featurestore"
)

// decayedSumAggregate and decayedCountAggregate weigh an event of age a by 2^(−a/half_life):
// what happened lately counts most and nothing is ever cut off. The sum of nothing is null,
// the count of nothing 0.
//
// This is forward decay (G. Cormode, V. Shkapenyuk, D. Srivastava and B. Xu, "Forward
// decay: a practical time decay model for streaming systems", 2009): the row keeps
// Σ x·2^((time − landmark)/half_life), which does not change while time passes. The
// landmark is a whole number of half lives, so that moving it multiplies by a power of two
// and loses nothing, and the order of events matters no more than in a plain sum.
var (
	decayedSumAggregate = aggregate{
		windows:   never,
		field:     required,
		takes:     takesHalfLife,
		result:    numberOnly("decayed_sum", alwaysFloat),
		keep:      keepDecayed,
		keptBytes: decayedBytes,
		readKept: func(packed []byte, o *output, over span, cell *featurestore.Cell) error {
			if len(packed) == 0 {
				setNull(cell, featurestore.Null)
				return nil
			}
			return readDecayed(packed, o, over, cell)
		},
	}
	decayedCountAggregate = aggregate{
		windows:   never,
		field:     optional,
		takes:     takesHalfLife,
		result:    func(featurestore.Type) (featurestore.Type, error) { return featurestore.Float64, nil },
		keep:      keepDecayed,
		keptBytes: decayedBytes,
		readKept: func(packed []byte, o *output, over span, cell *featurestore.Cell) error {
			if len(packed) == 0 {
				setFloat(cell, 0)
				return nil
			}
			return readDecayed(packed, o, over, cell)
		},
	}
)

func keepDecayed(k *keptSpec) kept {
	return &decayed{spec: k, sums: k.feature.Aggregate == "decayed_sum", halfLife: k.feature.HalfLife.Microseconds()}
}

func decayedBytes(*keptSpec) int { return binary.MaxVarintLen64 + 2*(1+8) }

// decayed is the state of one feature.
type decayed struct {
	spec     *keptSpec
	sums     bool  // values are added, not ones
	halfLife int64 // µs

	some     bool
	landmark int64 // in half lives since 1970
	sum      compensated
}

func (d *decayed) reset() { d.some, d.landmark, d.sum = false, 0, compensated{} }

func (d *decayed) fold(e *featurestore.Event) {
	v := valueOf(e, d.spec.field)
	if v.IsNull() {
		return
	}
	x := 1.0
	if d.sums {
		x, _ = v.Number()
	}
	lives, weight := split(e.Time, d.halfLife)
	switch {
	case !d.some:
		d.some, d.landmark = true, lives
	case lives > d.landmark:
		down := int(max(d.landmark-lives, math.MinInt32))
		d.sum.sum, d.sum.lost = math.Ldexp(d.sum.sum, down), math.Ldexp(d.sum.lost, down)
		d.landmark = lives
	}
	d.sum.add(math.Ldexp(x*weight, int(max(lives-d.landmark, math.MinInt32))))
}

// split is a time as whole half lives and 2 to the power of the rest, which is from 1 to 2.
func split(t, halfLife int64) (lives int64, weight float64) {
	return t / halfLife, math.Exp2(float64(t%halfLife) / float64(halfLife))
}

func (d *decayed) append(dst []byte) []byte {
	if !d.some {
		return dst
	}
	dst = binary.AppendVarint(dst, d.landmark)
	lost := d.sum.lost
	if !finite(lost) {
		lost = 0 // the sum overflowed, and says so itself
	}
	return appendOneFloat(appendOneFloat(dst, d.sum.sum), lost)
}

func (d *decayed) decode(src []byte) (err error) {
	d.reset()
	if len(src) == 0 {
		return nil
	}
	d.some = true
	d.landmark, d.sum, err = openDecayed(src)
	return err
}

func openDecayed(src []byte) (landmark int64, sum compensated, err error) {
	landmark, n := binary.Varint(src)
	if n <= 0 {
		return 0, sum, errTruncated
	}
	if len(src) == n {
		return 0, sum, errTruncated
	}
	rest := src[n:]
	if sum.sum, rest, err = readOneFloat(rest); err != nil {
		return 0, sum, err
	}
	if len(rest) == 0 {
		return 0, sum, errTruncated
	}
	sum.lost, _, err = readOneFloat(rest)
	return landmark, sum, err
}

func readDecayed(packed []byte, o *output, over span, cell *featurestore.Cell) error {
	landmark, sum, err := openDecayed(packed)
	if err != nil {
		return err
	}
	lives, weight := split(over.to, o.feature.HalfLife.Microseconds())
	setFinite(cell, math.Ldexp(sum.value()/weight, int(min(max(landmark-lives, math.MinInt32), math.MaxInt32))))
	return nil
}

// inspect shows the sum at its landmark.
func (d *decayed) inspect() []KeptEntry {
	if !d.some {
		return nil
	}
	return []KeptEntry{{Value: featurestore.FloatValue(d.sum.value()), At: featurestore.Position{Time: d.landmark * d.halfLife}}}
}
