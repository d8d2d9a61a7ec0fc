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
	// CountedPartitions is the number of partitions of which a row with dedupe remembers
	// identities: one where the topic is keyed by the entity.
	CountedPartitions = 8
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
	for _, edge := range p.edges {
		size := 0
		if !edge.isNewest() {
			size += maxPositionBytes
		}
		size += runTagBytes(len(edge.values))
		for _, v := range edge.values {
			size += maxBodyBytes(v.typ, v.text)
		}
		total += sectionBytes(size)
	}
	for _, k := range p.kept {
		total += sectionBytes(k.maxBytes())
	}
	if p.dedupe != nil {
		total += sectionBytes(p.dedupe.maxBytes())
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
		if size := blobBytes(spec.kind); size > 0 {
			total += 1 + sectionBytes(n*sectionBytes(size))
			continue
		}
		total += 1 + n*encodingWidth[widest(spec.kind)]
	}
	return total
}

// quantileBytes is the most that the bins of a tile take: keys are at most 2¹⁷ apart
// altogether, so that two bytes do for all but a few, and counts are counted at four bytes,
// up to 268 million values of one entity in one tile and bin.
const quantileBytes = maxBins*(2+4) + 16

// blobBytes is the most that one packed sketch takes; 0 for what is no sketch.
func blobBytes(kind partialKind) int {
	switch kind {
	case distinctPartial:
		return denseBytes
	case quantilePartial:
		return quantileBytes
	default:
		return 0
	}
}

// widest is the widest encoding that a partial's numbers can need.
func widest(kind partialKind) encoding {
	switch kind {
	case intSumPartial:
		return encWide
	case floatSumPartial, floatLostPartial, floatMinPartial, floatMaxPartial, squaresPartial:
		return encFloat64
	default:
		return encInt64
	}
}

// maxValueBytes is the most that a value that stands alone takes; see appendValue.
func maxValueBytes(t featurestore.Type, text int) int { return 1 + maxBodyBytes(t, text) }

func maxBodyBytes(t featurestore.Type, text int) int {
	if t.IsList() {
		return uvarintBytes(CountedElements) + runTagBytes(CountedElements) + CountedElements*maxBodyBytes(t.Elem(), text)
	}
	switch t {
	case featurestore.String, featurestore.Bytes:
		return uvarintBytes(text) + text
	case featurestore.Bool:
		return 1
	default:
		return 8
	}
}

func sectionBytes(n int) int { return uvarintBytes(n) + n }

func uvarintBytes(n int) int {
	var buffer [binary.MaxVarintLen64]byte
	return binary.PutUvarint(buffer[:], uint64(n))
}
