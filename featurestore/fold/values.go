package fold

import (
	"encoding/binary"
	"math"

	"github.com/onehop/onehop/featurestore"
)

// A value that stands alone is a byte with its tag and then its body: the bytes of the
// number, or uvarint length and bytes of a text, or uvarint length and run of a list. A run
// is values one after the other, of a number that is known: all tags, two to a byte with
// the earlier one in the low bits, and then all bodies.

// appendValue packs a value of a type that the reader knows.
func appendValue(dst []byte, v featurestore.Value) []byte {
	t := tagOf(v)
	return appendBody(append(dst, byte(t)), v, t)
}

// appendRun packs a run.
func appendRun(dst []byte, values []featurestore.Value) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, runTagBytes(len(values)))...)
	for i, v := range values {
		t := tagOf(v)
		dst[start+i/2] |= byte(t) << (i % 2 * 4)
		dst = appendBody(dst, v, t)
	}
	return dst
}

func runTagBytes(n int) int { return (n + 1) / 2 }

func appendBody(dst []byte, v featurestore.Value, t tag) []byte {
	switch {
	case t == tagNull:
		return dst
	case v.Type.IsList():
		return appendRun(binary.AppendUvarint(dst, uint64(len(v.List))), v.List)
	case v.Type == featurestore.Float64:
		return appendFloatBody(dst, v.Float(), t)
	case v.Type == featurestore.Int64 || v.Type == featurestore.Bool:
		return appendInt(dst, forms[t].enc, int64(v.Num))
	default:
		return append(binary.AppendUvarint(dst, uint64(len(v.Bytes))), v.Bytes...)
	}
}

func appendFloatBody(dst []byte, f float64, t tag) []byte {
	switch t {
	case tagFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	case tagFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
	default:
		return appendInt(dst, forms[t].enc, int64(math.Round(f*powersOfTen[forms[t].power])))
	}
}

// appendOneFloat packs a float that stands alone.
func appendOneFloat(dst []byte, f float64) []byte {
	t := floatTag(f)
	return appendFloatBody(append(dst, byte(t)), f, t)
}

// run are the tags of a packed run.
type run []byte

// openRun takes the tags of a run of n values off src; the bodies are left.
func openRun(src []byte, n int) (run, []byte, error) {
	size := runTagBytes(n)
	if len(src) < size {
		return nil, nil, errTruncated
	}
	return run(src[:size]), src[size:], nil
}

func (r run) tag(i int) tag { return tag(r[i/2] >> (i % 2 * 4) & (byte(tagEnd) - 1)) }

// readTag takes the tag of a value that stands alone off src.
func readTag(src []byte) (t tag, body []byte, err error) {
	if len(src) == 0 || tag(src[0]) >= tagEnd {
		return 0, nil, errTruncated
	}
	return tag(src[0]), src[1:], nil
}

// readValue takes a packed value of type t off src. Strings and bytes alias src;
// a list is allocated.
func readValue(src []byte, t featurestore.Type) (v featurestore.Value, rest []byte, err error) {
	tag, body, err := readTag(src)
	if err != nil {
		return v, nil, err
	}
	return readBody(body, t, tag)
}

func readBody(src []byte, t featurestore.Type, tag tag) (v featurestore.Value, rest []byte, err error) {
	switch {
	case tag == tagNull:
		return v, src, nil
	case t.IsList():
		return readList(src, t)
	case t == featurestore.Float64:
		f, rest, err := readFloat(src, tag)
		if err != nil {
			return v, nil, err
		}
		return featurestore.FloatValue(f), rest, nil
	case t == featurestore.Int64 || t == featurestore.Bool:
		n, rest, err := readInt(src, tag)
		return featurestore.Value{Type: t, Num: uint64(n)}, rest, err
	}
	n, rest, err := uvarint(src)
	if err != nil || n > uint64(len(rest)) {
		return v, nil, errTruncated
	}
	return featurestore.Value{Type: t, Bytes: rest[:n:n]}, rest[n:], nil
}

func readList(src []byte, t featurestore.Type) (v featurestore.Value, rest []byte, err error) {
	n, src, err := uvarint(src)
	if err != nil || n > 2*uint64(len(src)) { // an element takes half a byte at least
		return v, nil, errTruncated
	}
	tags, src, err := openRun(src, int(n))
	if err != nil {
		return v, nil, err
	}
	list := make([]featurestore.Value, n)
	for i := range list {
		if list[i], src, err = readBody(src, t.Elem(), tags.tag(i)); err != nil {
			return v, nil, err
		}
	}
	return featurestore.ListValue(t.Elem(), list), src, nil
}

func readInt(src []byte, t tag) (v int64, rest []byte, err error) {
	n := t.width()
	if t > tagInt64 || len(src) < n {
		return 0, nil, errTruncated
	}
	return column{enc: forms[t].enc, data: src[:n]}.int(0), src[n:], nil
}

func readFloat(src []byte, t tag) (f float64, rest []byte, err error) {
	n := t.width()
	if len(src) < n {
		return 0, nil, errTruncated
	}
	f = column{enc: forms[t].enc, data: src[:n]}.float(0)
	if power := forms[t].power; power > 0 {
		f /= powersOfTen[power]
	}
	return f, src[n:], nil
}

// readOneFloat takes a float that stands alone off src.
func readOneFloat(src []byte) (f float64, rest []byte, err error) {
	t, body, err := readTag(src)
	if err != nil {
		return 0, nil, err
	}
	return readFloat(body, t)
}

// skipBody passes over the body of a value.
func skipBody(src []byte, t featurestore.Type, tag tag) (rest []byte, err error) {
	if tag != tagNull && (t.IsList() || t == featurestore.String || t == featurestore.Bytes) {
		return skipLong(src, t)
	}
	n := tag.width()
	if len(src) < n {
		return nil, errTruncated
	}
	return src[n:], nil
}

// skipLong passes over the body of a text or a list.
func skipLong(src []byte, t featurestore.Type) (rest []byte, err error) {
	if !t.IsList() {
		_, rest, err = readBody(src, t, tagZero)
		return rest, err
	}
	n, src, err := uvarint(src)
	if err != nil || n > 2*uint64(len(src)) {
		return nil, errTruncated
	}
	tags, src, err := openRun(src, int(n))
	for i := 0; err == nil && i < int(n); i++ {
		src, err = skipBody(src, t.Elem(), tags.tag(i))
	}
	return src, err
}
