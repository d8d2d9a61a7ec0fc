package fold

import (
	"encoding/binary"
	"math"

	"github.com/onehop/onehop/featurestore"
)

// kept is the state of one kept aggregate in a row being folded.
type kept interface {
	section
	// fold folds an event. State that outlives the event is copied.
	fold(e *featurestore.Event)
	// inspect shows what is kept, newest first.
	inspect() []KeptEntry
}

// A packed value is a tag and what the tag says: nothing for null, false and true
// and for an empty string or list are not special. Numbers are packed by the
// narrowest exact encoding of columns, whose number is the tag, or as decimals.
const tagNull = 0xff

// appendValue packs a value of a type that the reader knows.
func appendValue(dst []byte, v featurestore.Value) []byte {
	if v.IsNull() {
		return append(dst, tagNull)
	}
	if v.Type.IsList() {
		dst = append(dst, 0)
		dst = binary.AppendUvarint(dst, uint64(len(v.List)))
		for _, e := range v.List {
			dst = appendValue(dst, e)
		}
		return dst
	}
	switch v.Type {
	case featurestore.Float64:
		return appendOneFloat(dst, v.Float())
	case featurestore.Int64, featurestore.Bool:
		enc := intEncoding(int64(v.Num))
		return appendInt(append(dst, byte(enc)), enc, int64(v.Num))
	default:
		dst = append(dst, 0)
		dst = binary.AppendUvarint(dst, uint64(len(v.Bytes)))
		return append(dst, v.Bytes...)
	}
}

func appendOneFloat(dst []byte, f float64) []byte {
	enc := floatEncoding(f)
	if dst, ok := appendDecimal(dst, f, enc); ok {
		return dst
	}
	dst = append(dst, byte(enc))
	switch enc {
	case encFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	case encFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
	default:
		return appendInt(dst, enc, int64(f))
	}
}

// readValue takes a packed value of type t off src. Strings and bytes alias src;
// a list is allocated.
func readValue(src []byte, t featurestore.Type) (v featurestore.Value, rest []byte, err error) {
	switch {
	case len(src) == 0:
		return v, nil, errTruncated
	case src[0] == tagNull:
		return v, src[1:], nil
	case t.IsList():
		return readList(src[1:], t)
	case t == featurestore.String || t == featurestore.Bytes:
		n, rest, err := uvarint(src[1:])
		if err != nil || n > uint64(len(rest)) {
			return v, nil, errTruncated
		}
		return featurestore.Value{Type: t, Bytes: rest[:n:n]}, rest[n:], nil
	}
	if t == featurestore.Float64 {
		f, rest, err := nextFloat(src)
		if err != nil {
			return v, nil, err
		}
		return featurestore.FloatValue(f), rest, nil
	}
	c, rest, err := nextColumn(src, 1)
	if err != nil {
		return v, nil, err
	}
	return featurestore.Value{Type: t, Num: uint64(c.int(0))}, rest, nil
}

func readList(src []byte, t featurestore.Type) (v featurestore.Value, rest []byte, err error) {
	n, src, err := uvarint(src)
	if err != nil || n > uint64(len(src)) { // an element takes a byte at least
		return v, nil, errTruncated
	}
	list := make([]featurestore.Value, n)
	for i := range list {
		if list[i], src, err = readValue(src, t.Elem()); err != nil {
			return v, nil, err
		}
	}
	return featurestore.ListValue(t.Elem(), list), src, nil
}
