package fold

import "math"

// Many floats are decimals of few digits: prices, stars in halves, percentages. Such a value
// is packed as an integer and the power of ten that divides it, where that is exact and
// shorter: 19.99 takes two bytes and a tag. The tag has decimalBit, the power, and the
// encoding of the integer.
const (
	decimalBit   = 0x40
	maxDecimals  = 4
	decimalShift = 3
)

var powersOfTen = [maxDecimals + 1]float64{1, 10, 100, 1000, 10000}

// decimalOf finds the integer and the power of ten whose quotient is exactly f; ok is false
// when there is none with an integer of 32 bits.
func decimalOf(f float64) (digits int64, power int, ok bool) {
	if f == 0 || math.Abs(f) >= 1<<31 {
		return 0, 0, false // an integer or wide; and minus zero must stay what it is
	}
	for power := 1; power <= maxDecimals; power++ {
		r := math.Round(f * powersOfTen[power])
		if math.Abs(r) >= 1<<31 {
			return 0, 0, false
		}
		if r/powersOfTen[power] == f {
			return int64(r), power, true
		}
	}
	return 0, 0, false
}

// appendDecimal packs f as a decimal when that is shorter than enc.
func appendDecimal(dst []byte, f float64, enc encoding) (_ []byte, ok bool) {
	if enc < encFloat32 {
		return dst, false // whole numbers have nothing shorter
	}
	digits, power, ok := decimalOf(f)
	if !ok {
		return dst, false
	}
	width := intEncoding(digits)
	if encodingWidth[width] >= encodingWidth[enc] {
		return dst, false
	}
	dst = append(dst, decimalBit|byte(power)<<decimalShift|byte(width))
	return appendInt(dst, width, digits), true
}

// nextFloat takes one packed float off src, which has a tag at least.
func nextFloat(src []byte) (f float64, rest []byte, err error) {
	if src[0]&decimalBit != 0 {
		power := int(src[0]&^decimalBit) >> decimalShift
		width := encoding(src[0] & (1<<decimalShift - 1))
		if power > maxDecimals || width > encInt32 || len(src)-1 < encodingWidth[width] {
			return 0, nil, errTruncated
		}
		n := encodingWidth[width]
		return float64(column{enc: width, data: src[1 : 1+n]}.int(0)) / powersOfTen[power], src[1+n:], nil
	}
	c, rest, err := nextColumn(src, 1)
	if err != nil {
		return 0, nil, err
	}
	return c.float(0), rest, nil
}
