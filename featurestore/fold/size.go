package fold

import (
	"encoding/binary"
	"math"

	"github.com/onehop/onehop/featurestore"
)

// What [Program.MaxRowBytes] assumes of values that no definition bounds. They are
// for planning: a longer text or list is accepted and kept whole.
const (
	// CountedTextBytes is the length at which a string or bytes value is counted,
	// unless the field is part of a key, which has a bound of its own.
	CountedTextBytes = 256
	// CountedElements is the number of elements at which a list is counted.
	CountedElements = 32
)

// maxPositionBytes is the longest packed position: the event time, then the uvarints
// of two 32-bit numbers around a 64-bit one.
const maxPositionBytes = 8 + 5 + 9 + 5

// MaxRowBytes is the most bytes that a row of the view can take: the head, every kept
// value at its longest, and every tile of every window there, with each column in its
// widest encoding. Texts are counted at [CountedTextBytes] and lists at
// [CountedElements].
func (p *Program) MaxRowBytes() int {
	total := headerBytes + maxPositionBytes
	latest := 0
	for _, l := range p.latest {
		latest += maxValueBytes(l.typ, l.text)
	}
	if len(p.latest) > 0 {
		total += sectionBytes(latest)
	}
	for _, k := range p.kept {
		total += sectionBytes(k.agg.keptBytes(k.n, maxValueBytes(k.typ, k.text)))
	}
	for _, set := range p.sets {
		total += sectionBytes(set.maxBytes())
	}
	return total
}

// maxBytes is the most that the packed tile set takes.
func (s *tileSet) maxBytes() int {
	n := s.maxTiles()
	total := uvarintBytes(n) + uvarintBytes(math.MaxInt64) + n*s.distanceWidth()
	for _, spec := range s.specs {
		total += 1 + n*encodingWidth[widest(spec.kind)]
	}
	return total
}

// widest is the widest encoding that a partial's numbers can need.
func widest(kind partialKind) encoding {
	switch kind {
	case intSumPartial:
		return encWide
	case floatSumPartial, floatLostPartial, floatMinPartial, floatMaxPartial:
		return encFloat64
	default:
		return encInt64
	}
}

// maxValueBytes is the most that a packed value takes; see appendValue.
func maxValueBytes(t featurestore.Type, text int) int {
	if t.IsList() {
		return 1 + uvarintBytes(CountedElements) + CountedElements*maxValueBytes(t.Elem(), text)
	}
	switch t {
	case featurestore.String, featurestore.Bytes:
		return 1 + uvarintBytes(text) + text
	case featurestore.Bool:
		return 1 + 1
	default:
		return 1 + 8
	}
}

func sectionBytes(n int) int { return uvarintBytes(n) + n }

func uvarintBytes(n int) int {
	var buffer [binary.MaxVarintLen64]byte
	return binary.PutUvarint(buffer[:], uint64(n))
}
