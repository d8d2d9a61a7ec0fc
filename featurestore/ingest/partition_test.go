package ingest_test

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/ingest/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestInvariantUnderFaults interleaves several owners of the same partitions with
// crashes, failed calls whose outcome is unknown, restored snapshots (a promoted
// replica) and flushes, checks the invariant after each step, and at the end lets
// one owner of each partition finish: everything is there exactly once.
func TestInvariantUnderFaults(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	logs := []storetest.Log{storetest.NewLog(3, 240), storetest.NewKeyedLog(3, 240)}
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		l := logs[rapid.IntRange(0, 1).Draw(t, "log")]
		store := storetest.NewMemory()
		saved := store.Snapshot()
		type owner struct {
			*ingest.Partition
			p    int
			open bool
		}
		owners := make([]owner, 6) // two for each partition
		fresh := func(i int) owner {
			p := i % len(l)
			return owner{Partition: ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic, Partition: int32(p)}, ingest.NewHotRows([]*ingest.View{view}, 1<<16)), p: p}
		}
		for i := range owners {
			owners[i] = fresh(i)
		}
		for range rapid.IntRange(10, 80).Draw(t, "steps") {
			o := &owners[rapid.IntRange(0, len(owners)-1).Draw(t, "owner")]
			switch rapid.SampledFrom([]string{"work", "work", "work", "work", "heartbeat", "crash", "fail", "save", "restore", "flush"}).Draw(t, "step") {
			case "work":
				o.open = step(ctx, t, o.Partition, l, o.p, o.open, rapid.Int64Range(1, 30).Draw(t, "events"))
			case "heartbeat":
				o.open = o.open && expected(t, o.Heartbeat(ctx))
			case "crash":
				*o = fresh(o.p)
			case "fail":
				left := rapid.IntRange(0, 20).Draw(t, "commits before the failure")
				store.Fail = func() error {
					if left--; left < 0 {
						return errors.New("connection reset")
					}
					return nil
				}
				if o.open && o.Process(ctx, l.Batch(o.p, o.Position(), o.Position()+20)) != nil {
					o.open = false
				}
				store.Fail = nil
			case "save":
				saved = store.Snapshot()
			case "restore":
				store.Restore(saved.Snapshot())
			case "flush":
				store.Flush()
			}
			if err := storetest.Check(ctx, store, view, l); err != nil {
				t.Fatal(err)
			}
		}
		for p := range l { // whoever is last finishes the work
			o := fresh(p)
			for open := false; !open || o.Position() < int64(len(l[p])); {
				open = step(ctx, t, o.Partition, l, p, open, 50)
			}
			if err := o.Heartbeat(ctx); err != nil {
				t.Fatalf("the last heartbeat: %v", err)
			}
			owners[p] = o
		}
		for p := range l { // whoever was filled first may have to say so again
			if err := owners[p].Heartbeat(ctx); err != nil {
				t.Fatalf("the last heartbeat: %v", err)
			}
		}
		if err := storetest.Check(ctx, store, view, l); err != nil {
			t.Fatal(err)
		}
		for p := range l {
			marks, err := store.Marks(ctx, view, ingest.PartitionID{Topic: storetest.Topic, Partition: int32(p)})
			if err != nil {
				t.Fatal(err)
			}
			for b, m := range marks {
				if m.Next != int64(len(l[p])) {
					t.Fatalf("bucket %d: watermark %d of partition %d, want %d", b, m.Next, p, len(l[p]))
				}
			}
			if state, err := store.Advance(ctx, view, ingest.PartitionID{Topic: storetest.Topic, Partition: int32(p)}); err != nil || state != ingest.Live {
				t.Fatalf("everything is folded and the buckets are not live: state %d, %v", state, err)
			}
		}
	})
}

// step opens a partition or processes its next batch and says whether it is open.
func step(ctx context.Context, t *rapid.T, part *ingest.Partition, l storetest.Log, p int, open bool, n int64) bool {
	if !open {
		_, err := part.Open(ctx, l.Offsets())
		return expected(t, err)
	}
	return expected(t, part.Process(ctx, l.Batch(p, part.Position(), part.Position()+n)))
}

// expected says whether a step succeeded; the only failure that may happen here is
// the discovery of lost writes.
func expected(t *rapid.T, err error) bool {
	if err != nil && !errors.Is(err, ingest.ErrLost) {
		t.Fatalf("unexpected failure: %v", err)
	}
	return err == nil
}

func TestEventsBeyondRetentionStopThePartition(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog(1, 50)
	store := storetest.NewMemory()
	offsets := map[int32]ingest.Offsets{0: {Start: 10, End: 50}}
	p := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := p.Open(context.Background(), offsets); !errors.Is(err, ingest.ErrGone) {
		t.Fatalf("a new view over a log that begins at 10: %v", err)
	}
	if _, err := p.Open(context.Background(), l.Offsets()); err != nil {
		t.Fatal(err)
	}
	if err := p.Process(context.Background(), l.Batch(0, 0, 20)); err != nil {
		t.Fatal(err)
	}
	offsets[0] = ingest.Offsets{Start: 30, End: 50}
	if _, err := p.Open(context.Background(), offsets); !errors.Is(err, ingest.ErrGone) {
		t.Fatalf("offset 20 is needed and the log begins at 30: %v", err)
	}
	offsets[0] = ingest.Offsets{End: 5}
	if _, err := p.Open(context.Background(), offsets); !errors.Is(err, ingest.ErrGone) {
		t.Fatalf("offset 20 was folded and the log ends at 5: %v", err)
	}
}

// TestPossibleWhileOthersFold folds on between the question where the buckets stand and the
// answer where the log ends, as a process that is busy does to one that starts.
func TestPossibleWhileOthersFold(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	l := storetest.NewLog(1, 50)
	store := storetest.NewMemory()
	busy := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := busy.Open(ctx, l.Offsets()); err != nil {
		t.Fatal(err)
	}
	possible := func(look func() int64) error {
		return ingest.Possible(ctx, store, view, storetest.Topic, []int32{0}, func(context.Context) (map[int32]ingest.Offsets, error) {
			return map[int32]ingest.Offsets{0: {End: look()}}, nil
		})
	}
	for end := range int64(50) {
		err := possible(func() int64 {
			if err := busy.Process(ctx, l.Batch(0, end, end+1)); err != nil { // right after Kafka has answered
				t.Fatal(err)
			}
			return end
		})
		if err != nil {
			t.Fatalf("the log ended at %d when it was asked for: %v", end, err)
		}
	}
	if err := possible(func() int64 { return 5 }); !errors.Is(err, ingest.ErrGone) {
		t.Errorf("the log ends at 5 and offset 49 was folded: %v", err)
	}
}

func TestNewTopicIDIsANewSpaceOfOffsets(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog(1, 50)
	store := storetest.NewMemory()
	for _, id := range []featurestore.TopicID{{1}, {2}} {
		p := ingest.NewPartition(store, ingest.PartitionID{Topic: id}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
		from, err := p.Open(context.Background(), l.Offsets())
		if err != nil || from != 0 {
			t.Fatalf("topic %s: begins at %d, %v", id, from, err)
		}
		if err := p.Process(context.Background(), l.Batch(0, 0, 50)); err != nil {
			t.Fatal(err)
		}
		if got := p.Stats()[0].Folded; got != 50 {
			t.Fatalf("topic %s: %d events folded, want 50", id, got)
		}
	}
}

// TestAZombieIsRefusedAndCounted lets a second owner do the work that a first one still has
// in hand: the first one's commits are refused, nothing is folded twice, and an operator
// can see it.
func TestAZombieIsRefusedAndCounted(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	l := storetest.NewLog(1, 50)
	store := storetest.NewMemory()
	id := ingest.PartitionID{Topic: storetest.Topic}
	zombie := ingest.NewPartition(store, id, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	owner := ingest.NewPartition(store, id, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	for _, p := range []*ingest.Partition{zombie, owner} {
		if _, err := p.Open(ctx, l.Offsets()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*ingest.Partition{owner, zombie} {
		if err := p.Process(ctx, l.Batch(0, 0, 50)); err != nil {
			t.Fatal(err)
		}
	}
	if got := owner.Stats()[0]; got.Folded != 50 || got.Overtaken != 0 {
		t.Errorf("the owner: %+v", got)
	}
	if got := zombie.Stats()[0]; got.Folded != 0 || got.Skipped != 50 || got.Overtaken == 0 || got.Conflicts != 0 {
		t.Errorf("the zombie: %+v", got)
	}
	if err := storetest.Check(ctx, store, view, l); err != nil {
		t.Error(err)
	}
}

func TestMemoryPassesTheSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (ingest.Store, *ingest.View, func()) {
		view, err := storetest.View("test")
		if err != nil {
			t.Fatal(err)
		}
		m := storetest.NewMemory()
		return m, view, m.Flush
	})
}

// TestTombstonesOfOtherKeys folds a tombstone that an earlier version of the source took
// by a key that is no join field of the view: it is not for its rows.
func TestTombstonesOfOtherKeys(t *testing.T) {
	view, err := storetest.View("test")
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog(1, 3)
	l[0][1].Delete, l[0][1].Values = true, make([]featurestore.Value, 2)
	store := storetest.NewMemory()
	p := ingest.NewPartition(store, ingest.PartitionID{Topic: storetest.Topic}, ingest.NewHotRows([]*ingest.View{view}, 1<<16))
	if _, err := p.Open(t.Context(), l.Offsets()); err != nil {
		t.Fatal(err)
	}
	if err := p.Process(t.Context(), l.Batch(0, 0, 3)); err != nil || p.Stats()[0].Folded != 2 {
		t.Fatalf("%d events folded, %v; want 2", p.Stats()[0].Folded, err)
	}
}
