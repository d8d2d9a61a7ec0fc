// Package storetest has a store in memory for tests of the ingest protocol, the
// property that every store must have, and a suite that every store must pass.
package storetest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Memory is a store in memory, with the semantics of the Lua scripts of package online
// and ways to lose what was written. It holds one view. It is safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	rows    map[string][]byte                    // by bucket and key
	marks   map[int]map[ingest.PartitionID]int64 // by bucket
	filling map[ingest.PartitionID]int64         // targets
	live    bool
	// Fail, when set, is asked before each commit and may fail it.
	Fail func() error
}

// NewMemory is an empty store.
func NewMemory() *Memory {
	m := &Memory{}
	m.Flush()
	return m
}

// Flush loses everything.
func (m *Memory) Flush() {
	m.rows, m.marks = map[string][]byte{}, map[int]map[ingest.PartitionID]int64{}
	m.filling, m.live = nil, false
}

// Snapshot copies the store; restoring a copy is what the promotion of a replica
// that lacks the last writes does.
func (m *Memory) Snapshot() *Memory {
	c := NewMemory()
	c.live = m.live
	maps.Copy(c.rows, m.rows)
	for b, marks := range m.marks {
		c.marks[b] = map[ingest.PartitionID]int64{}
		maps.Copy(c.marks[b], marks)
	}
	if m.filling != nil {
		c.filling = map[ingest.PartitionID]int64{}
		maps.Copy(c.filling, m.filling)
	}
	return c
}

// Restore goes back to a copy.
func (m *Memory) Restore(from *Memory) {
	m.rows, m.marks, m.filling, m.live = from.rows, from.marks, from.filling, from.live
}

// Marks implements ingest.Store.
func (m *Memory) Marks(_ context.Context, _ *ingest.View, id ingest.PartitionID) ([]ingest.Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := make([]ingest.Mark, featurestore.Buckets)
	for b := range marks {
		next, ok := m.marks[b][id]
		if !ok {
			next = ingest.Missing
		}
		known := m.live || m.filling != nil
		topic := false
		for other := range m.marks[b] {
			topic = topic || other.Topic == id.Topic
		}
		target, filling := m.filling[id]
		if !filling {
			target = ingest.Missing
		}
		marks[b] = ingest.Mark{Next: next, Known: known && topic, Target: target}
	}
	return marks, nil
}

// BeginFill implements ingest.Store.
func (m *Memory) BeginFill(_ context.Context, _ *ingest.View, topic featurestore.TopicID, buckets []int, offsets map[int32]ingest.Offsets) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = false
	m.filling = map[ingest.PartitionID]int64{}
	for partition, o := range offsets {
		id := ingest.PartitionID{Topic: topic, Partition: partition}
		m.filling[id] = o.End
	}
	for _, b := range buckets {
		if m.marks[b] == nil {
			m.marks[b] = map[ingest.PartitionID]int64{}
		}
		for partition, o := range offsets {
			id := ingest.PartitionID{Topic: topic, Partition: partition}
			if _, ok := m.marks[b][id]; !ok {
				m.marks[b][id] = o.Start
			}
		}
	}
	return nil
}

// Advance implements ingest.Store.
func (m *Memory) Advance(_ context.Context, _ *ingest.View, id ingest.PartitionID) (ingest.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live || m.filling == nil {
		if m.live {
			return ingest.Live, nil
		}
		return ingest.Lost, nil
	}
	if target, pending := m.filling[id]; pending {
		for b := range featurestore.Buckets {
			if next, ok := m.marks[b][id]; !ok || next < target {
				return ingest.Behind, nil
			}
		}
	}
	delete(m.filling, id)
	if len(m.filling) > 0 {
		return ingest.Filling, nil
	}
	m.filling, m.live = nil, true
	return ingest.Live, nil
}

// Load implements ingest.Store.
func (m *Memory) Load(_ context.Context, _ *ingest.View, keys [][]byte) ([][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := make([][]byte, len(keys))
	for i, key := range keys {
		rows[i] = m.rows[string(key)]
	}
	return rows, nil
}

// Commit implements ingest.Store.
func (m *Memory) Commit(_ context.Context, commits []ingest.Commit) ([]ingest.Outcome, error) {
	outcomes := make([]ingest.Outcome, len(commits))
	for i := range commits {
		if m.Fail != nil {
			if err := m.Fail(); err != nil {
				return nil, err
			}
		}
		outcomes[i] = m.commit(&commits[i])
	}
	return outcomes, nil
}

func (m *Memory) commit(c *ingest.Commit) (o ingest.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mark, ok := m.marks[c.Bucket][c.Partition]
	if !ok {
		mark = ingest.Missing
	}
	if mark != c.Expect || (!ok && m.marks[c.Bucket] == nil) {
		return ingest.Outcome{Moved: true, Watermark: mark}
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
		if row.Row == nil {
			delete(m.rows, string(row.Key))
			continue
		}
		m.rows[string(row.Key)] = slices.Clone(row.Row)
	}
	m.marks[c.Bucket][c.Partition] = c.Next
	return o
}
