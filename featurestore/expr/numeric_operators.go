package expr

import (
	"math"
	"math/bits"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"

	"github.com/onehop/onehop/featurestore"
)

// binary are the functions of two scalars, neither of which has failed.
var binary = map[string]func(a, b scalar) scalar{
	operators.Add:           arithmetic(addInts, func(a, b float64) float64 { return a + b }),
	operators.Subtract:      arithmetic(subtractInts, func(a, b float64) float64 { return a - b }),
	operators.Multiply:      arithmetic(multiplyInts, func(a, b float64) float64 { return a * b }),
	operators.Divide:        arithmetic(divideInts, func(a, b float64) float64 { return a / b }),
	operators.Modulo:        modulo,
	operators.Less:          order(func(c int) bool { return c < 0 }),
	operators.LessEquals:    order(func(c int) bool { return c <= 0 }),
	operators.Greater:       order(func(c int) bool { return c > 0 }),
	operators.GreaterEquals: order(func(c int) bool { return c >= 0 }),
	operators.Equals:        func(a, b scalar) scalar { return boolean(equal(a, b)) },
	operators.NotEquals:     func(a, b scalar) scalar { return boolean(!equal(a, b)) },
}

// unary are the functions of one scalar.
var unary = map[string]func(a scalar) scalar{
	operators.Negate: negate, operators.LogicalNot: not,
	overloads.TypeConvertDouble: toFloat, overloads.TypeConvertInt: toInt,
}

// arithmetic calculates with two numbers of one type; of anything else nothing comes.
func arithmetic(ints func(a, b int64) (int64, bool), floats func(a, b float64) float64) func(a, b scalar) scalar {
	return func(a, b scalar) scalar {
		switch {
		case a.typ == featurestore.Float64 && b.typ == featurestore.Float64:
			return float(floats(a.real(), b.real()))
		case a.typ == featurestore.Int64 && b.typ == featurestore.Int64:
			if v, ok := ints(a.int(), b.int()); ok {
				return integer(v)
			}
		}
		return scalar{typ: failed}
	}
}

func addInts(a, b int64) (int64, bool) {
	sum := a + b
	return sum, (sum > a) == (b > 0)
}

func subtractInts(a, b int64) (int64, bool) {
	difference := a - b
	return difference, (difference < a) == (b > 0)
}

func multiplyInts(a, b int64) (int64, bool) {
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	limit := uint64(math.MaxInt64)
	if (a < 0) != (b < 0) {
		limit++
	}
	return a * b, high == 0 && low <= limit
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

func divideInts(a, b int64) (int64, bool) {
	if b == 0 || a == math.MinInt64 && b == -1 {
		return 0, false
	}
	return a / b, true
}

func modulo(a, b scalar) scalar {
	if a.typ != featurestore.Int64 || b.typ != featurestore.Int64 || b.int() == 0 || a.int() == math.MinInt64 && b.int() == -1 {
		return scalar{typ: failed}
	}
	return integer(a.int() % b.int())
}

// order compares two numbers, or two bools, true being the greater. NaN is in no order with
// anything: that is false, of a NaN before even a null, as CEL has it.
func order(is func(c int) bool) func(a, b scalar) scalar {
	return func(a, b scalar) scalar {
		c, ok := compare(a, b)
		switch {
		case ok:
			return boolean(is(c))
		case a.isNaN(), b.isNaN() && a.typ != 0:
			return boolean(false)
		default:
			return scalar{typ: failed}
		}
	}
}

func (s scalar) isNaN() bool { return s.typ == featurestore.Float64 && math.IsNaN(s.real()) }

// compare orders two scalars, if they have an order.
func compare(a, b scalar) (c int, ok bool) {
	switch {
	case a.typ == featurestore.Float64 && b.typ == featurestore.Float64:
		return sign(a.real() < b.real(), a.real() > b.real()), !math.IsNaN(a.real()) && !math.IsNaN(b.real())
	case a.typ == featurestore.Float64 && b.typ == featurestore.Int64:
		// As CEL does: an int64 is compared as the nearest float64.
		return sign(a.real() < float64(b.int()), a.real() > float64(b.int())), !math.IsNaN(a.real())
	case a.typ == featurestore.Int64 && b.typ == featurestore.Float64:
		c, ok = compare(b, a)
		return -c, ok
	case a.typ == b.typ && (a.typ == featurestore.Int64 || a.typ == featurestore.Bool):
		return sign(a.int() < b.int(), a.int() > b.int()), true
	default:
		return 0, false
	}
}

func sign(less, greater bool) int {
	switch {
	case less:
		return -1
	case greater:
		return 1
	default:
		return 0
	}
}

// equal says whether two scalars are equal: null is so to null alone, NaN to nothing.
func equal(a, b scalar) bool {
	if a.typ == 0 || b.typ == 0 {
		return a.typ == b.typ
	}
	c, ok := compare(a, b)
	return ok && c == 0
}

func negate(a scalar) scalar {
	switch {
	case a.typ == featurestore.Float64:
		return float(-a.real())
	case a.typ == featurestore.Int64 && a.int() != math.MinInt64:
		return integer(-a.int())
	default:
		return scalar{typ: failed}
	}
}

func not(a scalar) scalar {
	if a.typ != featurestore.Bool {
		return scalar{typ: failed}
	}
	return boolean(a.num == 0)
}

func toFloat(a scalar) scalar {
	switch a.typ {
	case featurestore.Float64:
		return a
	case featurestore.Int64:
		return float(float64(a.int()))
	default:
		return scalar{typ: failed}
	}
}

// toInt cuts a fraction off; what no int64 holds is nothing, and so are, as in CEL, the least
// and what is rounded to the greatest.
func toInt(a scalar) scalar {
	switch {
	case a.typ == featurestore.Int64:
		return a
	case a.typ == featurestore.Float64 && a.real() > math.MinInt64 && a.real() < math.MaxInt64: // not of NaN
		return integer(int64(a.real()))
	default:
		return scalar{typ: failed}
	}
}
