package fold

import (
	"cmp"
	"encoding/binary"
	"math"

	"github.com/onehop/onehop/featurestore"
)

// bound is the longest that a kept value can be: the most bytes of a text, or of each text of
// a list, and the most elements of a list.
type bound struct{ text, elements int }

// boundOf is the bound of a field's values, by which events are accepted.
func boundOf(f *featurestore.Field) bound {
	return bound{text: cmp.Or(f.KeyBytes, f.MaxBytes, featurestore.KeptBytes), elements: cmp.Or(f.MaxElements, featurestore.KeptElements)}
}

// What [Program.MaxRowBytes] assumes where no definition bounds.
const (
	// CountedPartitions is the number of partitions of which a row with dedupe remembers
	// identities: one where the topic is keyed by the entity.
	CountedPartitions = 8
)

// maxPositionBytes is the longest packed position: the event time, then the uvarints
// of two 32-bit numbers around a 64-bit one.
const maxPositionBytes = 8 + 5 + 9 + 5

// MaxRowBytes is the most bytes that a row of the view can take: the head, every kept
// value at its longest, and every tile of every window there, with each column in its
// widest encoding.
func (p *Program) MaxRowBytes() int {
	total := headerBytes + maxPositionBytes
	for _, edge := range p.edges {
		size := 0
		if !edge.isNewest() {
			size += maxPositionBytes
		}
		size += runTagBytes(len(edge.values))
		for _, v := range edge.values {
			size += maxBodyBytes(v.typ, v.bound)
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
		total += sectionBytes(set.maxBytes(p.source.Fields))
	}
	return total
}

// maxBytes is the most that the packed tile set of a source with such fields takes.
func (s *tileSet) maxBytes(fields []featurestore.Field) int {
	n := s.maxTiles()
	total := uvarintBytes(n) + uvarintBytes(math.MaxInt64) + n*s.distanceWidth()
	for _, spec := range s.specs {
		if size := blobBytes(spec, fields); size > 0 {
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
func blobBytes(spec partialSpec, fields []featurestore.Field) int {
	switch {
	case spec.kind == distinctPartial && fields[spec.field].Type == featurestore.Bool:
		return 2 * 8 // the hashes of both values
	case spec.kind == distinctPartial:
		return denseBytes
	case spec.kind == quantilePartial:
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
func maxValueBytes(t featurestore.Type, b bound) int { return 1 + maxBodyBytes(t, b) }

func maxBodyBytes(t featurestore.Type, b bound) int {
	if t.IsList() {
		return uvarintBytes(b.elements) + runTagBytes(b.elements) + b.elements*maxBodyBytes(t.Elem(), b)
	}
	switch t {
	case featurestore.String, featurestore.Bytes:
		return uvarintBytes(b.text) + b.text
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
