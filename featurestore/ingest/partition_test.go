package ingest

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var topic = featurestore.TopicID{1}

func testView(t interface{ Fatal(...any) }) *View {
	minute := featurestore.NewWindow(time.Minute)
	catalog := &featurestore.Catalog{
		Namespace: "test",
		Entities:  []featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "user_id", Type: featurestore.Int64}}}},
		Sources: []featurestore.Source{{Name: "ratings", Fields: []featurestore.Field{
			{Name: "user_id", Type: featurestore.Int64, Required: true}, {Name: "stars", Type: featurestore.Int64, Required: true},
		}}},
		Views: []featurestore.View{{Name: "user", Entity: "user", Source: "ratings", JoinFields: []string{"user_id"}, Generation: 1, Features: []featurestore.Feature{
			{Name: "last", Aggregate: "last_n", Field: "stars", N: 5, Type: featurestore.ListOf(featurestore.Int64)},
			{Name: "sum", Aggregate: "sum", Field: "stars", Windows: []featurestore.Window{minute, {}}, Type: featurestore.Int64},
		}}},
	}
	v, err := NewView(catalog, &catalog.Views[0])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// log is a topic with a few partitions that all hold the same keys.
type log [][]featurestore.Event

func makeLog(partitions, events int) log {
	l := make(log, partitions)
	for i := range events {
		p := i * 7 % partitions
		l[p] = append(l[p], featurestore.Event{
			Position: featurestore.Position{Time: 1_700_000_000_000_000 + int64(i%90)*1e6, Partition: int32(p), Offset: int64(len(l[p]))},
			Values:   []featurestore.Value{featurestore.IntValue(int64(i*i) % 23), featurestore.IntValue(int64(i))},
		})
	}
	return l
}

func (l log) offsets() map[int32]Offsets {
	offsets := map[int32]Offsets{}
	for p := range l {
		offsets[int32(p)] = Offsets{End: int64(len(l[p]))}
	}
	return offsets
}

func (l log) batch(p int, from, to int64) Batch {
	to = min(to, int64(len(l[p])))
	return Batch{From: from, To: max(from, to), Events: l[p][from:max(from, to)]}
}

// checkInvariant recomputes every row from the log at the watermarks of its bucket and
// compares byte for byte.
func checkInvariant(t interface{ Fatalf(string, ...any) }, m *memory, v *View, l log) {
	want := map[string][]byte{}
	f := folder{state: v.Program.NewState(), cache: newRowCache(1 << 20)}
	f.reset()
	for p := range l {
		for i := range l[p] {
			e := &l[p][i]
			row, err := f.row(v, e)
			if err != nil {
				t.Fatalf("%v", err)
			}
			if next, ok := m.marks[row.bucket][PartitionID{topic, int32(p)}]; ok && e.Offset < next {
				row.events = append(row.events, e)
			}
		}
	}
	for key, row := range f.rows {
		if len(row.events) == 0 {
			continue
		}
		write, err := f.fold(v, row)
		if err != nil {
			t.Fatalf("%v", err)
		}
		want[key] = write.Row
	}
	for b := range featurestore.Buckets {
		for p := range l {
			if next := m.marks[b][PartitionID{topic, int32(p)}]; m.live && next < int64(len(l[p])) {
				t.Fatalf("served as live, and bucket %d lacks events of partition %d from offset %d on", b, p, next)
			}
		}
	}
	if len(want) != len(m.rows) {
		t.Fatalf("%d rows, want %d", len(m.rows), len(want))
	}
	for key, row := range want {
		if !bytes.Equal(m.rows[key], row) {
			t.Fatalf("row %s is not the fold of its events below the watermark", key)
		}
	}
}

// TestInvariantUnderFaults interleaves several owners of the same partitions with
// crashes, failed calls whose outcome is unknown, restored snapshots (a promoted
// replica) and flushes, checks the invariant after each step, and at the end lets
// one owner of each partition finish: everything is there exactly once.
func TestInvariantUnderFaults(t *testing.T) {
	view := testView(t)
	l := makeLog(3, 240)
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		store := newMemory()
		saved := store.snapshot()
		type owner struct {
			*Partition
			p    int
			open bool
		}
		owners := make([]owner, 6) // two for each partition
		fresh := func(i int) owner {
			p := i % len(l)
			return owner{Partition: NewPartition(store, PartitionID{topic, int32(p)}, []*View{view}, 1<<16), p: p}
		}
		for i := range owners {
			owners[i] = fresh(i)
		}
		for range rapid.IntRange(10, 80).Draw(t, "steps") {
			o := &owners[rapid.IntRange(0, len(owners)-1).Draw(t, "owner")]
			switch rapid.SampledFrom([]string{"work", "work", "work", "work", "heartbeat", "crash", "fail", "save", "restore", "flush"}).Draw(t, "step") {
			case "work":
				o.open = step(t, ctx, o.Partition, l, o.p, o.open, rapid.Int64Range(1, 30).Draw(t, "events"))
			case "heartbeat":
				o.open = o.open && expected(t, o.Heartbeat(ctx))
			case "crash":
				*o = fresh(o.p)
			case "fail":
				left := rapid.IntRange(0, 20).Draw(t, "commits before the failure")
				store.fail = func() error {
					if left--; left < 0 {
						return errors.New("connection reset")
					}
					return nil
				}
				if o.open && o.Process(ctx, l.batch(o.p, o.Position(), o.Position()+20)) != nil {
					o.open = false
				}
				store.fail = nil
			case "save":
				saved = store.snapshot()
			case "restore":
				store.restore(saved.snapshot())
			case "flush":
				store.flush()
			}
			checkInvariant(t, store, view, l)
		}
		for p := range l { // whoever is last finishes the work
			o := fresh(p)
			for open := false; !open || o.Position() < int64(len(l[p])); {
				open = step(t, ctx, o.Partition, l, p, open, 50)
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
		checkInvariant(t, store, view, l)
		for b := range featurestore.Buckets {
			for p := range l {
				if next := store.marks[b][PartitionID{topic, int32(p)}]; next != int64(len(l[p])) {
					t.Fatalf("bucket %d: watermark %d of partition %d, want %d", b, next, p, len(l[p]))
				}
			}
		}
		if !store.live {
			t.Fatalf("everything is folded and the buckets are not live: %v", store.filling)
		}
	})
}

// step opens a partition or processes its next batch and says whether it is open.
func step(t *rapid.T, ctx context.Context, part *Partition, l log, p int, open bool, n int64) bool {
	if !open {
		_, err := part.Open(ctx, l.offsets())
		return expected(t, err)
	}
	return expected(t, part.Process(ctx, l.batch(p, part.Position(), part.Position()+n)))
}

// expected says whether a step succeeded; the only failure that may happen here is
// the discovery of lost writes.
func expected(t *rapid.T, err error) bool {
	if err != nil && !errors.Is(err, ErrLost) {
		t.Fatalf("unexpected failure: %v", err)
	}
	return err == nil
}

func TestEventsBeyondRetentionStopThePartition(t *testing.T) {
	view, l := testView(t), makeLog(1, 50)
	store := newMemory()
	offsets := map[int32]Offsets{0: {Start: 10, End: 50}}
	p := NewPartition(store, PartitionID{topic, 0}, []*View{view}, 1<<16)
	if _, err := p.Open(context.Background(), offsets); !errors.Is(err, ErrGone) {
		t.Fatalf("a new view over a log that begins at 10: %v", err)
	}
	if _, err := p.Open(context.Background(), l.offsets()); err != nil {
		t.Fatal(err)
	}
	if err := p.Process(context.Background(), l.batch(0, 0, 20)); err != nil {
		t.Fatal(err)
	}
	offsets[0] = Offsets{Start: 30, End: 50}
	if _, err := p.Open(context.Background(), offsets); !errors.Is(err, ErrGone) {
		t.Fatalf("offset 20 is needed and the log begins at 30: %v", err)
	}
	offsets[0] = Offsets{End: 5}
	if _, err := p.Open(context.Background(), offsets); !errors.Is(err, ErrGone) {
		t.Fatalf("offset 20 was folded and the log ends at 5: %v", err)
	}
}

func TestNewTopicIDIsANewSpaceOfOffsets(t *testing.T) {
	view, l := testView(t), makeLog(1, 50)
	store := newMemory()
	for _, id := range []featurestore.TopicID{{1}, {2}} {
		p := NewPartition(store, PartitionID{id, 0}, []*View{view}, 1<<16)
		from, err := p.Open(context.Background(), l.offsets())
		if err != nil || from != 0 {
			t.Fatalf("topic %s: begins at %d, %v", id, from, err)
		}
		if err := p.Process(context.Background(), l.batch(0, 0, 50)); err != nil {
			t.Fatal(err)
		}
		if got := p.Stats().Folded; got != 50 {
			t.Fatalf("topic %s: %d events folded, want 50", id, got)
		}
	}
}

func TestCacheStaysWithinItsBudget(t *testing.T) {
	c := newRowCache(10_000)
	for i := range 1000 {
		c.put(strconv.Itoa(i), make([]byte, 100))
		if n := len(c.young) + len(c.old); n*(100+rowOverhead) > 10_000+2*(100+rowOverhead) {
			t.Fatalf("%d rows of 100 bytes in a budget of 10,000", n)
		}
	}
	if _, ok := c.get("999"); !ok {
		t.Fatal("the newest row is not there")
	}
	if _, ok := c.get("0"); ok {
		t.Fatal("the oldest row is still there")
	}
}
