package fold

import (
	"encoding/binary"
	"errors"
	"math"
)

// encoding says how the numbers of a column are packed. The narrowest that holds
// every number of the column exactly is chosen, so that equal columns have equal
// bytes.
type encoding byte

const (
	encZero encoding = iota // every number is zero: no bytes
	encInt8
	encInt16
	encInt32
	encInt64
	encFloat32
	encFloat64
	encWide  // 128-bit integers
	encBlobs // sketches, see appendBlobs
	encEnd
)

var encodingWidth = [encEnd]int{0, 1, 2, 4, 8, 4, 8, 16, 0}

var errTruncated = errors.New("the row is truncated")

// column is a packed column of a row: its bytes alias the row.
type column struct {
	enc  encoding
	data []byte
}

// nextColumn takes a column of n numbers off src.
func nextColumn(src []byte, n int) (c column, rest []byte, err error) {
	if len(src) == 0 || encoding(src[0]) >= encEnd {
		return column{}, nil, errTruncated
	}
	enc := encoding(src[0])
	if enc == encBlobs {
		return nextBlobs(src[1:])
	}
	size := n * encodingWidth[enc]
	if len(src)-1 < size {
		return column{}, nil, errTruncated
	}
	return column{enc: enc, data: src[1 : 1+size]}, src[1+size:], nil
}

// narrowSize is the size of a packed column of n numbers of a byte each, or of n zeros; 0 where it is no such column.
func narrowSize(src []byte, n int) int {
	switch {
	case n == 0:
		return 0
	case len(src) > n && encoding(src[0]) == encInt8:
		return 1 + n
	case len(src) > 0 && encoding(src[0]) == encZero:
		return 1
	default:
		return 0
	}
}

// int is number i of a column of integers.
func (c column) int(i int) int64 {
	switch c.enc {
	case encInt8:
		return int64(int8(c.data[i]))
	case encInt16:
		return int64(int16(binary.LittleEndian.Uint16(c.data[2*i:])))
	case encInt32:
		return int64(int32(binary.LittleEndian.Uint32(c.data[4*i:])))
	case encInt64:
		return int64(binary.LittleEndian.Uint64(c.data[8*i:]))
	default:
		return 0
	}
}

// float is number i of a column of floats.
func (c column) float(i int) float64 {
	switch c.enc {
	case encFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(c.data[4*i:])))
	case encFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(c.data[8*i:]))
	default:
		return float64(c.int(i))
	}
}

// wide is number i of a column of 128-bit integers.
func (c column) wide(i int) wide {
	if c.enc != encWide {
		return wideOf(c.int(i))
	}
	return wide{
		lo: binary.LittleEndian.Uint64(c.data[16*i:]),
		hi: int64(binary.LittleEndian.Uint64(c.data[16*i+8:])),
	}
}

// narrow says whether the sum of a whole column fits an int64 whatever it holds.
func (c *column) narrow() bool { return c.enc <= encInt32 }

// sumInts adds the integers from number lo on, of a narrow column or of one whose
// sum the caller knows to fit.
func (c *column) sumInts(lo, n int) (sum int64) {
	switch c.enc {
	case encZero:
	case encInt8:
		sum = sumBytes(c.data[lo:n])
	case encInt16:
		for d := c.data[2*lo : 2*n]; len(d) >= 2; d = d[2:] {
			sum += int64(int16(binary.LittleEndian.Uint16(d)))
		}
	default:
		for i := lo; i < n; i++ {
			sum += c.int(i)
		}
	}
	return sum
}

// sumBytes adds signed bytes, eight at a time: in unsigned bytes v + 128, whose even and odd ones are added in lanes of 16 bits,
// which hold 128 steps without a carry.
func sumBytes(data []byte) (sum int64) {
	const bias, even, ones, steps = 0x8080808080808080, 0x00ff00ff00ff00ff, 0x0001000100010001, 128
	for len(data) >= 8 {
		var lanes uint64
		words := min(len(data)/8, steps)
		for i := 0; i < words*8; i += 8 {
			x := binary.LittleEndian.Uint64(data[i:]) ^ bias
			lanes += x&even + x>>8&even
		}
		sum += int64(lanes&even*ones>>48) + int64(lanes>>8&even*ones>>48)<<8 - int64(words)*8*128
		data = data[words*8:]
	}
	for _, b := range data {
		sum += int64(int8(b))
	}
	return sum
}

func intEncoding(v int64) encoding {
	switch {
	case v == 0:
		return encZero
	case v == int64(int8(v)):
		return encInt8
	case v == int64(int16(v)):
		return encInt16
	case v == int64(int32(v)):
		return encInt32
	default:
		return encInt64
	}
}

func appendInts(dst []byte, values []int64) []byte {
	return packInts(dst, values, func(v *int64) int64 { return *v })
}

// packInts packs a column of the integers of some tiles.
func packInts[T any](dst []byte, tiles []T, get func(*T) int64) []byte {
	enc := encZero
	for i := range tiles {
		enc = max(enc, intEncoding(get(&tiles[i])))
	}
	dst = append(dst, byte(enc))
	for i := range tiles {
		dst = appendInt(dst, enc, get(&tiles[i]))
	}
	return dst
}

func appendInt(dst []byte, enc encoding, v int64) []byte {
	switch enc {
	case encInt8:
		return append(dst, byte(v))
	case encInt16:
		return binary.LittleEndian.AppendUint16(dst, uint16(v))
	case encInt32:
		return binary.LittleEndian.AppendUint32(dst, uint32(v))
	case encInt64:
		return binary.LittleEndian.AppendUint64(dst, uint64(v))
	default:
		return dst
	}
}

// floatEncoding is the narrowest encoding that keeps every bit of f. Integers
// wider than 32 bits stay floats, and so does minus zero.
func floatEncoding(f float64) encoding {
	if i := int64(int32(f)); math.Float64bits(float64(i)) == math.Float64bits(f) {
		return intEncoding(i)
	}
	if math.Float64bits(float64(float32(f))) == math.Float64bits(f) {
		return encFloat32
	}
	return encFloat64
}

func appendFloats(dst []byte, values []float64) []byte {
	return packFloats(dst, values, func(v *float64) float64 { return *v })
}

// packFloats packs a column of the floats of some tiles.
func packFloats[T any](dst []byte, tiles []T, get func(*T) float64) []byte {
	enc := encZero
	for i := range tiles {
		enc = joinFloatEncodings(enc, floatEncoding(get(&tiles[i])))
	}
	dst = append(dst, byte(enc))
	for i := range tiles {
		switch v := get(&tiles[i]); enc {
		case encFloat32:
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v)))
		case encFloat64:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
		default:
			dst = appendInt(dst, enc, int64(v))
		}
	}
	return dst
}

// joinFloatEncodings is the narrowest encoding that holds what both hold: 32-bit
// integers and 32-bit floats meet in 64-bit floats.
func joinFloatEncodings(a, b encoding) encoding {
	a, b = min(a, b), max(a, b)
	if a == encInt32 && b == encFloat32 {
		return encFloat64
	}
	return b
}

func appendWides(dst []byte, values []wide) []byte {
	enc := encZero
	for _, v := range values {
		if i, ok := v.int(); ok {
			enc = max(enc, intEncoding(i))
		} else {
			enc = encWide
		}
	}
	dst = append(dst, byte(enc))
	for _, v := range values {
		if enc == encWide {
			dst = binary.LittleEndian.AppendUint64(dst, v.lo)
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v.hi))
			continue
		}
		dst = appendInt(dst, enc, int64(v.lo))
	}
	return dst
}
