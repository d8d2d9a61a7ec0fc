package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
)

// Topic is the id of the topic that a Log stands for.
var Topic = featurestore.TopicID{1}

// View is a view with a list and two sums by user, in a namespace.
func View(namespace string) (*ingest.View, error) {
	windows := []featurestore.Window{featurestore.NewWindow(time.Minute), {}}
	catalog := &featurestore.Catalog{
		Namespace: namespace,
		Entities:  []featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "user_id", Type: featurestore.Int64}}}},
		Sources: []featurestore.Source{{Name: "ratings", Fields: []featurestore.Field{
			{Name: "user_id", Type: featurestore.Int64, Required: true}, {Name: "stars", Type: featurestore.Int64, Required: true},
		}}},
		Views: []featurestore.View{{Name: "user", Entity: "user", Source: "ratings", JoinFields: []string{"user_id"}, Generation: 1, Features: []featurestore.Feature{
			{Name: "last", Aggregate: "last_n", Field: "stars", N: 5, Type: featurestore.ListOf(featurestore.Int64)},
			{Name: "sum", Aggregate: "sum", Field: "stars", Windows: windows, Type: featurestore.Int64},
		}}},
	}
	return ingest.NewView(catalog, &catalog.Views[0])
}

// Log is a topic in memory: for each partition its events, whose offsets count from 0.
// All partitions hold events of the same few users.
type Log [][]featurestore.Event

// NewLog makes a log of a number of events, spread over partitions.
func NewLog(partitions, events int) Log {
	l := make(Log, partitions)
	for i := range events {
		p := i * 7 % partitions
		l[p] = append(l[p], featurestore.Event{
			Position: featurestore.Position{Time: 1_700_000_000_000_000 + int64(i%90)*1e6, Partition: int32(p), Offset: int64(len(l[p]))},
			Values:   []featurestore.Value{featurestore.IntValue(int64(i*i) % 23), featurestore.IntValue(int64(i))},
		})
	}
	return l
}

// NewKeyedLog makes a log as NewLog does, but with all events of a user in one partition,
// and among them tombstones; some users end with one, some begin with one.
func NewKeyedLog(partitions, events int) Log {
	l := make(Log, partitions)
	for i := range events {
		user := int64(i*i) % 23
		p := int(user) % partitions
		e := featurestore.Event{
			Position: featurestore.Position{Time: 1_700_000_000_000_000 + int64(i%90)*1e6, Partition: int32(p), Offset: int64(len(l[p]))},
			Values:   []featurestore.Value{featurestore.IntValue(user), featurestore.IntValue(int64(i))},
		}
		if i%7 == 3 || i > events-20 && user%3 == 0 || i < 10 {
			e.Delete, e.Values[1] = true, featurestore.Value{}
		}
		l[p] = append(l[p], e)
	}
	return l
}

// Offsets are the first and next offsets of the partitions.
func (l Log) Offsets() map[int32]ingest.Offsets {
	offsets := map[int32]ingest.Offsets{}
	for p := range l {
		offsets[int32(p)] = ingest.Offsets{End: int64(len(l[p]))}
	}
	return offsets
}

// Batch is a run of a partition's events.
func (l Log) Batch(p int, from, to int64) ingest.Batch {
	to = max(from, min(to, int64(len(l[p]))))
	return ingest.Batch{From: from, To: to, Events: l[p][from:to]}
}

// Check says how a store breaks the invariant: a row that is not, byte for byte, the
// fold of the log's events below the watermarks of its bucket, or a store that is live
// and lacks events. The store must be at rest.
func Check(ctx context.Context, store ingest.Store, view *ingest.View, l Log) error {
	marks := make([][]ingest.Mark, len(l))
	state := ingest.Live
	for p := range l {
		var err error
		id := ingest.PartitionID{Topic: Topic, Partition: int32(p)}
		if marks[p], err = store.Marks(ctx, view, id); err != nil {
			return err
		}
		now, err := store.Advance(ctx, view, id)
		if err != nil {
			return err
		}
		state = min(state, now)
	}
	events := map[string][]*featurestore.Event{}
	for p := range l {
		for i := range l[p] {
			e := &l[p][i]
			key, err := view.Entity.AppendKey(nil, e.Values[:1])
			if err != nil {
				return err
			}
			next := marks[p][featurestore.Bucket(key)].Next
			if state == ingest.Live && next < int64(len(l[p])) {
				return fmt.Errorf("the store is live, and user %s lacks events of partition %d from offset %d on", key, p, next)
			}
			if e.Offset < next {
				events[string(key)] = append(events[string(key)], e)
			} else if events[string(key)] == nil {
				events[string(key)] = []*featurestore.Event{}
			}
		}
	}
	return compare(ctx, store, view, events)
}

func compare(ctx context.Context, store ingest.Store, view *ingest.View, events map[string][]*featurestore.Event) error {
	var keys [][]byte
	for _, key := range slices.Sorted(maps.Keys(events)) {
		keys = append(keys, []byte(key))
	}
	rows, err := store.Load(ctx, view, keys)
	if err != nil {
		return err
	}
	for i, key := range keys {
		var want []byte
		if list := events[string(key)]; len(list) > 0 {
			s := view.Program.NewState()
			for _, e := range list {
				s.Fold(e)
			}
			if !s.Empty() {
				want = s.AppendRow(nil)
			}
		}
		if !bytes.Equal(rows[i], want) {
			return fmt.Errorf("the row of user %s is not the fold of its %d events below the watermark", key, len(events[string(key)]))
		}
	}
	return nil
}
