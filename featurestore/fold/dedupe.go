package fold

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// dedupe remembers which events a row has folded, by the view's [featurestore.Dedupe]: for
// each partition the newest identities, in the order of offsets. Partitions are apart, so
// that the state depends on the events of each alone and not on how they interleave.
type dedupe struct {
	field, last int
	partitions  []identities // in order of their numbers
}

// identities are hashes of what identified the events of one partition, oldest first.
type identities struct {
	partition int32
	hashes    []uint64
}

func (d *dedupe) reset() { d.partitions = d.partitions[:0] }

// seen says whether an event is a duplicate, and remembers it if not.
func (d *dedupe) seen(e *featurestore.Event) bool {
	v := &e.Values[d.field]
	if v.IsNull() {
		return false
	}
	// The events of one record may all carry the record's identity.
	h := hashOf(v) + uint64(e.Index)*0x9e3779b97f4a7c15
	i, found := slices.BinarySearchFunc(d.partitions, e.Partition, func(p identities, n int32) int { return int(p.partition) - int(n) })
	if !found {
		d.partitions = slices.Insert(d.partitions, i, identities{partition: e.Partition})
	}
	p := &d.partitions[i]
	if slices.Contains(p.hashes, h) {
		return true
	}
	if len(p.hashes) == d.last {
		p.hashes = slices.Delete(p.hashes, 0, 1)
	}
	p.hashes = append(p.hashes, h)
	return false
}

func (d *dedupe) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(d.partitions)))
	for _, p := range d.partitions {
		dst = binary.AppendUvarint(dst, uint64(uint32(p.partition)))
		dst = binary.AppendUvarint(dst, uint64(len(p.hashes)))
		for _, h := range p.hashes {
			dst = binary.LittleEndian.AppendUint64(dst, h)
		}
	}
	return dst
}

func (d *dedupe) decode(src []byte) error {
	d.reset()
	n, src, err := uvarint(src)
	if err != nil {
		return err
	}
	for range n {
		var number, size uint64
		if number, src, err = uvarint(src); err != nil {
			return err
		}
		if size, src, err = uvarint(src); err != nil {
			return err
		}
		if number > math.MaxUint32 || size > uint64(d.last) || 8*size > uint64(len(src)) {
			return errTruncated
		}
		p := identities{partition: int32(uint32(number)), hashes: make([]uint64, size)}
		for i := range p.hashes {
			p.hashes[i] = binary.LittleEndian.Uint64(src[8*i:])
		}
		src = src[8*size:]
		d.partitions = append(d.partitions, p)
	}
	return nil
}

// maxBytes counts [CountedPartitions] partitions.
func (d *dedupe) maxBytes() int {
	return binary.MaxVarintLen64 + CountedPartitions*(2*binary.MaxVarintLen32+8*d.last)
}
