package plan

import (
	"slices"
	"strconv"
	"unsafe"

	"github.com/onehop/onehop/featurestore"
)

// KeyColumn is a column of join-key values of one type; one of the fields is used.
type KeyColumn struct {
	Ints    []int64
	Strings []string
	Bytes   [][]byte
}

// Len is the number of values.
func (c *KeyColumn) Len() int { return len(c.Ints) + len(c.Strings) + len(c.Bytes) }

// at is value i; it aliases the column.
func (c *KeyColumn) at(i int) featurestore.Value {
	switch {
	case c.Ints != nil:
		return featurestore.IntValue(c.Ints[i])
	case c.Strings != nil:
		s := c.Strings[i] // nobody writes to a Value's bytes
		return featurestore.Value{Type: featurestore.String, Bytes: unsafe.Slice(unsafe.StringData(s), len(s))}
	default:
		return featurestore.BytesValue(c.Bytes[i])
	}
}

// Keys holds the encoded keys of one entity for the rows of a request. It is meant to
// be used again.
type Keys struct {
	text []byte
	ends []int
	join []featurestore.Value
}

// Set encodes the keys of an entity from its join-key columns, one for each join key
// in order. A column of one value holds for every row. The number of keys is that of
// the longest column; see [Keys.Len].
func (k *Keys) Set(entity *featurestore.Entity, columns []KeyColumn) error {
	k.text, k.ends = k.text[:0], k.ends[:0]
	if len(columns) == 1 && columns[0].Ints != nil && entity.Keys[0].Type == featurestore.Int64 {
		k.setInts(columns[0].Ints)
		return nil
	}
	rows := 0
	for i := range columns {
		rows = max(rows, columns[i].Len())
	}
	for i := range columns {
		if n := columns[i].Len(); n != rows && n != 1 {
			return featurestore.Errorf(featurestore.Invalid, "join key %q has %d values where there are %d rows", entity.Keys[i].Name, n, rows)
		}
	}
	for row := range rows {
		k.join = k.join[:0]
		for i := range columns {
			k.join = append(k.join, columns[i].at(min(row, columns[i].Len()-1)))
		}
		var err error
		if k.text, err = entity.AppendKey(k.text, k.join); err != nil {
			return featurestore.Errorf(featurestore.Invalid, "row %d: %v", row+1, err)
		}
		k.ends = append(k.ends, len(k.text))
	}
	return nil
}

// setInts is Set for one join key of integers, as most are.
func (k *Keys) setInts(ids []int64) {
	for _, id := range ids {
		k.text = strconv.AppendInt(k.text, id, 10)
		k.ends = append(k.ends, len(k.text))
	}
}

// Clone is a copy that later calls of Set do not change.
func (k *Keys) Clone() Keys { return Keys{text: slices.Clone(k.text), ends: slices.Clone(k.ends)} }

// Len is the number of keys: 1 when they hold for every row.
func (k *Keys) Len() int { return len(k.ends) }

// At is the encoded key of a row; it is valid until the next Set.
func (k *Keys) At(row int) []byte {
	row = min(row, len(k.ends)-1)
	start := 0
	if row > 0 {
		start = k.ends[row-1]
	}
	return k.text[start:k.ends[row]]
}
