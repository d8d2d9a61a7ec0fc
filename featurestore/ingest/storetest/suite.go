package storetest

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore/ingest"
)

// Opener makes an empty store and returns a view in it, and a function that loses
// everything in it.
type Opener func(t *testing.T) (store ingest.Store, view *ingest.View, flush func())

// Run is the suite that every store must pass.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"events are folded once", folded},
		{"tombstones", tombstones},
		{"rivals", rivals},
		{"lost", lost},
		{"lost, and found by another first", lostElsewhere},
		{"filling until every partition is there", filling},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

func folded(t *testing.T, open Opener) {
	store, view, _ := open(t)
	l := NewLog(3, 600)
	foldAll(t, store, view, l)
	foldAll(t, store, view, l) // a replay changes nothing
}

func tombstones(t *testing.T, open Opener) {
	store, view, flush := open(t)
	l := NewKeyedLog(3, 900)
	foldAll(t, store, view, l)
	foldAll(t, store, view, l) // a replay changes nothing
	flush()
	for p := range l { // one event a batch: rows are deleted in Redis, not in between
		if err := follow(t.Context(), store, view, l, p, 1); err != nil {
			t.Fatal(err)
		}
	}
	check(t, store, view, l)
}

func rivals(t *testing.T, open Opener) {
	for _, l := range []Log{NewLog(3, 900), NewKeyedLog(3, 900)} {
		store, view, _ := open(t)
		var group errgroup.Group
		for i := range 6 { // two owners for each partition, at once
			group.Go(func() error { return follow(t.Context(), store, view, l, i%3, int64(20+i)) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		check(t, store, view, l)
	}
}

func lost(t *testing.T, open Opener) {
	store, view, flush := open(t)
	l := NewLog(2, 300)
	p := ingest.NewPartition(store, ingest.PartitionID{Topic: Topic, Partition: 0}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := p.Open(t.Context(), l.Offsets()); err != nil {
		t.Fatal(err)
	}
	if err := p.Process(t.Context(), l.Batch(0, 0, 100)); err != nil {
		t.Fatal(err)
	}
	flush()
	if err := p.Heartbeat(t.Context()); !errors.Is(err, ingest.ErrLost) {
		t.Fatalf("a heartbeat after everything was lost: %v", err)
	}
	foldAll(t, store, view, l)
}

func lostElsewhere(t *testing.T, open Opener) {
	store, view, flush := open(t)
	l := NewLog(2, 300)
	var idle, other *ingest.Partition
	for i, p := range []**ingest.Partition{&idle, &other} {
		*p = ingest.NewPartition(store, ingest.PartitionID{Topic: Topic, Partition: int32(i)}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
		if _, err := (*p).Open(t.Context(), l.Offsets()); err != nil {
			t.Fatal(err)
		}
		if err := (*p).Process(t.Context(), l.Batch(i, 0, int64(len(l[i])))); err != nil {
			t.Fatal(err)
		}
		if err := (*p).Heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	if _, err := other.Open(t.Context(), l.Offsets()); err != nil { // it begins a fill
		t.Fatal(err)
	}
	if err := idle.Heartbeat(t.Context()); !errors.Is(err, ingest.ErrLost) {
		t.Fatalf("a heartbeat of a partition without new events: %v", err)
	}
	foldAll(t, store, view, l)
}

func filling(t *testing.T, open Opener) {
	store, view, _ := open(t)
	l := NewLog(2, 100)
	for i, want := range []ingest.State{ingest.Filling, ingest.Live} {
		if err := follow(t.Context(), store, view, l, i, 1000); err != nil {
			t.Fatal(err)
		}
		state, err := store.Advance(t.Context(), view, ingest.PartitionID{Topic: Topic, Partition: 0})
		if err != nil || state != want {
			t.Fatalf("after %d of 2 partitions: state %d, %v; want %d", i+1, state, err, want)
		}
	}
}

// foldAll lets one owner of each partition do everything, and checks.
func foldAll(t *testing.T, store ingest.Store, view *ingest.View, l Log) {
	t.Helper()
	for p := range l {
		if err := follow(t.Context(), store, view, l, p, 70); err != nil {
			t.Fatal(err)
		}
	}
	check(t, store, view, l)
}

func check(t *testing.T, store ingest.Store, view *ingest.View, l Log) {
	t.Helper()
	if err := Check(t.Context(), store, view, l); err != nil {
		t.Fatal(err)
	}
	for p := range l {
		id := ingest.PartitionID{Topic: Topic, Partition: int32(p)}
		marks, err := store.Marks(t.Context(), view, id)
		if err != nil {
			t.Fatal(err)
		}
		for b, m := range marks {
			if m.Next != int64(len(l[p])) || !m.Known {
				t.Fatalf("bucket %d: %+v; the log of partition %d ends at %d", b, m, p, len(l[p]))
			}
		}
		if state, err := store.Advance(t.Context(), view, id); err != nil || state != ingest.Live {
			t.Fatalf("everything is folded, and the state is %d, %v", state, err)
		}
	}
}

// follow is an owner of a partition, from opening it to the end of its log.
func follow(ctx context.Context, store ingest.Store, view *ingest.View, l Log, partition int, batch int64) error {
	id := ingest.PartitionID{Topic: Topic, Partition: int32(partition)}
	p := ingest.NewPartition(store, id, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := p.Open(ctx, l.Offsets()); err != nil {
		return err
	}
	for p.Position() < int64(len(l[partition])) {
		if err := p.Process(ctx, l.Batch(partition, p.Position(), p.Position()+batch)); err != nil {
			return err
		}
	}
	return p.Heartbeat(ctx)
}
