package training

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/onehop/onehop/featurestore/plan"
)

// Spine is a piece of a spine: rows of one time and one key for each entity of a plan.
type Spine struct {
	// Times are the rows' times, in microseconds since 1970 UTC.
	Times []int64
	// Keys are the rows' keys, one for each of the plan's entities.
	Keys []Keys
	// Request are the rows' values of the plan's request fields, in its order; what is not
	// PRESENT is null.
	Request []Column
}

// Keys are the keys of one entity, one for each row of a spine.
type Keys struct {
	// Parts are the values of the entity's join keys, in declared order.
	Parts []plan.KeyColumn
	// Null says which rows have no key, because a part of it is null; nil for none. What
	// Parts hold there does not matter.
	Null []bool
}

func (k *Keys) isNull(row uint32) bool { return k.Null != nil && k.Null[row] }

// compare orders the keys of two rows.
func (k *Keys) compare(a, b uint32) int {
	for i := range k.Parts {
		if c := compareParts(&k.Parts[i], a, b); c != 0 {
			return c
		}
	}
	return 0
}

func compareParts(c *plan.KeyColumn, a, b uint32) int {
	switch {
	case c.Ints != nil:
		return cmp.Compare(c.Ints[a], c.Ints[b])
	case c.Strings != nil:
		return strings.Compare(c.Strings[a], c.Strings[b])
	default:
		return bytes.Compare(c.Bytes[a], c.Bytes[b])
	}
}

// order lists the rows that have a key, by key and then by time.
func (s *Spine) order(entity int) []uint32 {
	keys := &s.Keys[entity]
	rows := make([]uint32, 0, len(s.Times))
	for row := range uint32(len(s.Times)) {
		if !keys.isNull(row) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b uint32) int {
		return cmp.Or(keys.compare(a, b), cmp.Compare(s.Times[a], s.Times[b]), cmp.Compare(a, b))
	})
	return rows
}
