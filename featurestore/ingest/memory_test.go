package ingest

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// memory is a Store in memory, with the semantics of the Lua scripts of package
// online and ways to lose what was written.
type memory struct {
	mu      sync.Mutex
	rows    map[string][]byte             // by bucket and key
	marks   map[int]map[PartitionID]int64 // by bucket
	filling map[PartitionID]int64         // targets
	live    bool
	// before, when set, runs before each commit with the lock held.
	before func(*Commit)
	fail   func() error
}

func newMemory() *memory {
	m := &memory{}
	m.flush()
	return m
}

func (m *memory) flush() {
	m.rows, m.marks = map[string][]byte{}, map[int]map[PartitionID]int64{}
	m.filling, m.live = nil, false
}

// snapshot copies the store; restoring a copy is what the promotion of a replica
// that lacks the last writes does.
func (m *memory) snapshot() *memory {
	c := newMemory()
	c.live = m.live
	for k, row := range m.rows {
		c.rows[k] = row
	}
	for b, marks := range m.marks {
		c.marks[b] = map[PartitionID]int64{}
		for id, next := range marks {
			c.marks[b][id] = next
		}
	}
	if m.filling != nil {
		c.filling = map[PartitionID]int64{}
		for id, target := range m.filling {
			c.filling[id] = target
		}
	}
	return c
}

func (m *memory) restore(from *memory) {
	m.rows, m.marks, m.filling, m.live = from.rows, from.marks, from.filling, from.live
}

func (m *memory) Marks(_ context.Context, _ *View, id PartitionID) ([]Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := make([]Mark, featurestore.Buckets)
	for b := range marks {
		next, ok := m.marks[b][id]
		if !ok {
			next = Missing
		}
		known := m.live || m.filling != nil
		topic := false
		for other := range m.marks[b] {
			topic = topic || other.Topic == id.Topic
		}
		target, filling := m.filling[id]
		if !filling {
			target = Missing
		}
		marks[b] = Mark{Next: next, Known: known && topic, Target: target}
	}
	return marks, nil
}

func (m *memory) BeginFill(_ context.Context, _ *View, topic featurestore.TopicID, buckets []int, offsets map[int32]Offsets) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = false
	m.filling = map[PartitionID]int64{}
	for partition, o := range offsets {
		id := PartitionID{topic, partition}
		m.filling[id] = o.End
	}
	for _, b := range buckets {
		if m.marks[b] == nil {
			m.marks[b] = map[PartitionID]int64{}
		}
		for partition, o := range offsets {
			id := PartitionID{topic, partition}
			if _, ok := m.marks[b][id]; !ok {
				m.marks[b][id] = o.Start
			}
		}
	}
	return nil
}

func (m *memory) Advance(_ context.Context, _ *View, id PartitionID) (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live || m.filling == nil {
		if m.live {
			return Live, nil
		}
		return Lost, nil
	}
	for b := range featurestore.Buckets {
		if next, ok := m.marks[b][id]; !ok || next < m.filling[id] {
			return Filling, nil
		}
	}
	delete(m.filling, id)
	if len(m.filling) > 0 {
		return Filling, nil
	}
	m.filling, m.live = nil, true
	return Live, nil
}

func (m *memory) Load(_ context.Context, _ *View, keys [][]byte) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := make([][]byte, len(keys))
	for i, key := range keys {
		rows[i] = m.rows[string(key)]
	}
	return rows, nil
}

func (m *memory) Commit(_ context.Context, commits []Commit) ([]Outcome, error) {
	outcomes := make([]Outcome, len(commits))
	for i := range commits {
		if m.fail != nil {
			if err := m.fail(); err != nil {
				return nil, err
			}
		}
		outcomes[i] = m.commit(&commits[i])
	}
	return outcomes, nil
}

func (m *memory) commit(c *Commit) (o Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		m.before(c)
	}
	mark, ok := m.marks[c.Bucket][c.Partition]
	if !ok {
		mark = Missing
	}
	if mark != c.Expect || (!ok && m.marks[c.Bucket] == nil) {
		return Outcome{Moved: true, Watermark: mark}
	}
	for i, row := range c.Rows {
		if current := m.rows[string(row.Key)]; fold.Stamp(current) != row.Stamp {
			o.Changed = append(o.Changed, i)
			o.Current = append(o.Current, bytes.Clone(current))
		}
	}
	if len(o.Changed) > 0 {
		return o
	}
	for _, row := range c.Rows {
		m.rows[string(row.Key)] = slices.Clone(row.Row)
	}
	m.marks[c.Bucket][c.Partition] = c.Next
	return o
}
