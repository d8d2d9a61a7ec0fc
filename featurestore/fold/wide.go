package fold

import (
	"math"
	"math/bits"
)

// wide is a 128-bit integer in two's complement. Sums of int64 are kept in it, so
// that no order of events can overflow on the way to a sum that fits.
type wide struct {
	hi int64
	lo uint64
}

func wideOf(v int64) wide { return wide{hi: v >> 63, lo: uint64(v)} }

func (w wide) add(v wide) wide {
	lo, carry := bits.Add64(w.lo, v.lo, 0)
	hi, _ := bits.Add64(uint64(w.hi), uint64(v.hi), carry)
	return wide{hi: int64(hi), lo: lo}
}

// int is w as an int64; ok is false when it does not fit.
func (w wide) int() (v int64, ok bool) {
	return int64(w.lo), w.hi == int64(w.lo)>>63
}

// float is the float64 nearest to w, up to one rounding of each half.
func (w wide) float() float64 {
	if v, ok := w.int(); ok {
		return float64(v)
	}
	return float64(w.hi)*math.Exp2(64) + float64(w.lo)
}

// compensated is a float sum that keeps what rounding lost, so that the result is
// within 1e-12 of Σ|x| whatever the order (A. Neumaier, "Rundungsfehleranalyse
// einiger Verfahren zur Summation endlicher Summen", ZAMM 54, 1974).
type compensated struct {
	sum, lost float64
}

func (c *compensated) add(x float64) {
	t := c.sum + x
	if math.Abs(c.sum) >= math.Abs(x) {
		c.lost += (c.sum - t) + x
	} else {
		c.lost += (x - t) + c.sum
	}
	c.sum = t
}

// value is the sum; it is not finite when the true sum does not fit a float64.
func (c *compensated) value() float64 {
	if math.IsInf(c.sum, 0) || math.IsNaN(c.sum) {
		return math.Inf(1)
	}
	return c.sum + c.lost
}
