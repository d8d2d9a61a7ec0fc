package maintain

import (
	"bytes"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// entities are some entities with their keys, by bucket.
type entities struct {
	entity  *featurestore.Entity
	parts   []plan.KeyColumn
	keys    [][]byte // encoded
	buckets map[int][]int
}

func newEntities(entity *featurestore.Entity) *entities {
	return &entities{entity: entity, parts: make([]plan.KeyColumn, len(entity.Keys)), buckets: map[int][]int{}}
}

func (e *entities) len() int { return len(e.keys) }

// add adds an entity by its join keys, of which nothing is kept.
func (e *entities) add(values []featurestore.Value) error {
	key, err := e.entity.AppendKey(nil, values)
	if err != nil {
		return err
	}
	for i := range values {
		c := &e.parts[i]
		switch e.entity.Keys[i].Type {
		case featurestore.Int64:
			c.Ints = append(c.Ints, values[i].Int())
		case featurestore.String:
			c.Strings = append(c.Strings, string(values[i].Bytes))
		default:
			c.Bytes = append(c.Bytes, bytes.Clone(values[i].Bytes))
		}
	}
	b := featurestore.Bucket(key)
	e.buckets[b] = append(e.buckets[b], len(e.keys))
	e.keys = append(e.keys, key)
	return nil
}

// keysOf are the encoded keys of some entities.
func (e *entities) keysOf(rows []int) [][]byte {
	keys := make([][]byte, len(rows))
	for i, row := range rows {
		keys[i] = e.keys[row]
	}
	return keys
}

// query asks history for what some entities' rows are folded from, since a time.
func (e *entities) query(q training.Query, rows []int, since int64) *training.Query {
	q.Keys = &training.Keys{Parts: e.parts}
	for _, row := range rows {
		q.Ranges = append(q.Ranges, training.Range{Row: uint32(row), From: since, To: forever})
	}
	return &q
}

// forever is a time after all events, in microseconds, that Postgres can tell.
const forever = 9e18
