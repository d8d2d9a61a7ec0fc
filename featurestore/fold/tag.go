package fold

import (
	"math"

	"github.com/onehop/onehop/featurestore"
)

// tag says in four bits how one value is packed: nothing for null and zero, and for numbers
// the narrowest form that keeps every bit. Many floats are decimals of few digits, such as
// prices, stars in halves and percentages. These are packed as the integer whose quotient
// with a power of ten they exactly are, where that is shorter: 19.99 takes two bytes.
type tag byte

const (
	tagNull tag = iota
	tagZero     // also a text or a list, whose length is packed with it
	tagInt8
	tagInt16
	tagInt32
	tagInt64
	tagFloat32
	tagFloat64
	tagTenths8
	tagTenths16
	tagHundredths8
	tagHundredths16
	tagHundredths32
	tagThousandths16
	tagTenThousandths16
	tagTenThousandths32
	tagEnd
)

// form is what a tag of a number stands for: an encoding and, for decimals, the power of ten
// that divides the integer.
type form struct {
	enc   encoding
	power int
}

var forms = [tagEnd]form{
	tagInt8: {enc: encInt8}, tagInt16: {enc: encInt16}, tagInt32: {enc: encInt32}, tagInt64: {enc: encInt64},
	tagFloat32: {enc: encFloat32}, tagFloat64: {enc: encFloat64},
	tagTenths8: {encInt8, 1}, tagTenths16: {encInt16, 1},
	tagHundredths8: {encInt8, 2}, tagHundredths16: {encInt16, 2}, tagHundredths32: {encInt32, 2},
	tagThousandths16:    {encInt16, 3},
	tagTenThousandths16: {encInt16, 4}, tagTenThousandths32: {encInt32, 4},
}

// width is the number of bytes of a number packed with the tag.
func (t tag) width() int { return encodingWidth[forms[t].enc] }

// plainTags are the tags of numbers that are no decimals.
var plainTags = [encWide]tag{tagZero, tagInt8, tagInt16, tagInt32, tagInt64, tagFloat32, tagFloat64}

const maxPower = 4

var powersOfTen = [maxPower + 1]float64{1, 10, 100, 1000, 10000}

// decimalTags are, by power and encoding of the integer, the tags of decimals. Where there
// is none, the next power with an integer ten times as large may have one.
var decimalTags = [maxPower + 1][encInt64]tag{
	1: {encInt8: tagTenths8, encInt16: tagTenths16},
	2: {encInt8: tagHundredths8, encInt16: tagHundredths16, encInt32: tagHundredths32},
	3: {encInt8: tagThousandths16, encInt16: tagThousandths16},
	4: {encInt8: tagTenThousandths16, encInt16: tagTenThousandths16, encInt32: tagTenThousandths32},
}

// tagOf is the tag of a value.
func tagOf(v featurestore.Value) tag {
	switch {
	case v.IsNull():
		return tagNull
	case v.Type == featurestore.Float64:
		return floatTag(v.Float())
	case v.Type == featurestore.Int64 || v.Type == featurestore.Bool:
		return plainTags[intEncoding(int64(v.Num))]
	default:
		return tagZero
	}
}

func floatTag(f float64) tag {
	plain := plainTags[floatEncoding(f)]
	if plain < tagFloat32 || f == 0 {
		return plain // whole numbers have nothing shorter, and minus zero must stay what it is
	}
	digits, power := decimalOf(f)
	for ; power > 0 && power <= maxPower && math.Abs(digits) < 1<<31; power, digits = power+1, 10*digits {
		if t := decimalTags[power][intEncoding(int64(digits))]; t != tagNull && t.width() < plain.width() {
			return t
		}
	}
	return plain
}

// decimalOf finds the smallest power of ten, and the integer, whose quotient is exactly f;
// power is 0 when there is none with an integer of 32 bits.
func decimalOf(f float64) (digits float64, power int) {
	for power := 1; power <= maxPower; power++ {
		digits := math.Round(f * powersOfTen[power])
		switch {
		case !(math.Abs(digits) < 1<<31): // or not a number
			return 0, 0
		case digits/powersOfTen[power] == f:
			return digits, power
		}
	}
	return 0, 0
}
