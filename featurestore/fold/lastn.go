package fold

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/onehop/onehop/featurestore"
)

// lastNAggregate is the list of the newest n values that are not null, newest
// first, within the window where there is one. A list without values is present.
var lastNAggregate = aggregate{
	windows: optional,
	field:   required,
	takes:   takesN,
	result: func(t featurestore.Type) (featurestore.Type, error) {
		if t.IsList() {
			return 0, fmt.Errorf("last_n needs a scalar field; it is %s", t)
		}
		return featurestore.ListOf(t), nil
	},
	keep: func(k *keptSpec) kept {
		return &lastN{field: k.field, n: k.feature.N, typ: k.typ}
	},
	keptBytes: func(k *keptSpec) int {
		return uvarintBytes(k.feature.N) + k.feature.N*(maxPositionBytes+maxValueBytes(k.typ, k.bound))
	},
	readKept: readLastN,
}

// lastN keeps the n newest entries in the order of positions, newest first.
type lastN struct {
	field, n int
	typ      featurestore.Type
	entries  []lastEntry
}

type lastEntry struct {
	at    featurestore.Position
	value featurestore.Value
}

func (l *lastN) reset() { l.entries = l.entries[:0] }

func (l *lastN) fold(e *featurestore.Event) {
	v := e.Values[l.field]
	if v.IsNull() {
		return
	}
	i, _ := slices.BinarySearchFunc(l.entries, e.Position, func(entry lastEntry, at featurestore.Position) int {
		return at.Compare(entry.at)
	})
	if i == l.n {
		return
	}
	if len(l.entries) == l.n {
		l.entries = l.entries[:l.n-1]
	}
	l.entries = slices.Insert(l.entries, i, lastEntry{at: e.Position, value: v.Clone()})
}

func (l *lastN) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(l.entries)))
	for _, e := range l.entries {
		dst = appendPosition(dst, e.at)
		dst = appendValue(dst, e.value)
	}
	return dst
}

func (l *lastN) decode(src []byte) error {
	l.reset()
	return eachLast(src, l.typ, func(e lastEntry) bool {
		l.entries = append(l.entries, e)
		return true
	})
}

// eachLast calls yield for each packed entry, newest first, until it says stop.
func eachLast(src []byte, t featurestore.Type, yield func(lastEntry) bool) error {
	n, src, err := uvarint(src)
	if err != nil {
		return err
	}
	for range n {
		var e lastEntry
		if e.at, src, err = readPosition(src); err != nil {
			return err
		}
		if e.value, src, err = readValue(src, t); err != nil {
			return err
		}
		if !yield(e) {
			return nil
		}
	}
	return nil
}

func readLastN(packed []byte, o *output, over span, cell *featurestore.Cell) error {
	list := []featurestore.Value{}
	err := eachLast(packed, o.typ, func(e lastEntry) bool {
		if e.at.Time < over.from {
			return false // they are in order of time
		}
		list = append(list, e.value)
		return true
	})
	cell.Value, cell.Status = featurestore.ListValue(o.typ, list), featurestore.Present
	return err
}

// appendPosition packs a position: event time, then uvarint partition, offset, index.
func appendPosition(dst []byte, p featurestore.Position) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Time))
	dst = binary.AppendUvarint(dst, uint64(uint32(p.Partition))) // imports have partition −1
	dst = binary.AppendUvarint(dst, uint64(p.Offset))
	return binary.AppendUvarint(dst, uint64(p.Index))
}

func readPosition(src []byte) (p featurestore.Position, rest []byte, err error) {
	if len(src) < 8 {
		return p, nil, errTruncated
	}
	p.Time = int64(binary.LittleEndian.Uint64(src))
	src = src[8:]
	var numbers [3]uint64
	for i := range numbers {
		if numbers[i], src, err = uvarint(src); err != nil {
			return p, nil, err
		}
	}
	if numbers[0] > math.MaxUint32 || numbers[1] > math.MaxInt64 || numbers[2] > math.MaxInt32 {
		return p, nil, errTruncated
	}
	p.Partition, p.Offset, p.Index = int32(uint32(numbers[0])), int64(numbers[1]), int32(numbers[2])
	return p, src, nil
}
