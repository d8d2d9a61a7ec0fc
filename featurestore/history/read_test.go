package history

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

// ordersOf writes events of twenty entities over three months, many at equal times, some
// of them late.
func ordersOf(t *testing.T, table *Table, n int) []featurestore.Event {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	list := events(n)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	for i := range list {
		e := &list[i]
		e.Time = start + random.Int64N(90*24)*3600e6
		if i%8 == 0 { // at the ends of ranges
			e.Time = noon([]int{10, 11, 20, 25, 70}[i/8%5])
		}
		e.RecordTime = e.Time + random.Int64N(3)*3600e6
		e.Values[0] = featurestore.IntValue(random.Int64N(20))
	}
	process(t, table, list)
	return list
}

// process writes events as one batch of the partition.
func process(t *testing.T, table *Table, list []featurestore.Event) {
	t.Helper()
	w := table.NewWriter(id)
	from, err := w.Open(t.Context(), logs)
	if err != nil {
		t.Fatal(err)
	}
	batch := ingest.Batch{From: from, To: list[len(list)-1].Offset + 1, Events: list}
	if err := w.Process(t.Context(), batch, 0); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, pool *pgxpool.Pool, table *Table, at Offsets) *Snapshot {
	t.Helper()
	s, err := OpenSnapshot(t.Context(), pool, table.namespace, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	return s
}

func noon(day int) int64 { return time.Date(2026, 1, day, 12, 0, 0, 0, time.UTC).UnixMicro() }

// query asks for some ranges of all entities and of one that is not there.
func query(available bool) *training.Query {
	q := &training.Query{Source: source(), KeyFields: []int{0}, Fields: []int{0, 1, 2, 3, 4, 5}, Keys: &training.Keys{Parts: []plan.KeyColumn{{Ints: []int64{}}}}, Available: available}

	for key := range int64(21) {
		q.Keys.Parts[0].Ints = append(q.Keys.Parts[0].Ints, key)
		for _, r := range [][2]int64{{0, noon(20)}, {noon(10), noon(11)}, {noon(25), noon(70)}, {noon(70), noon(1000)}} {
			q.Ranges = append(q.Ranges, training.Range{Row: uint32(key), From: r[0], To: r[1]})
		}
	}
	return q
}

// expected are the events of a range in the order in which they come into sight.
func expected(list []featurestore.Event, q *training.Query, r training.Range) []featurestore.Event {
	var in []featurestore.Event
	for _, e := range list {
		if e.Values[0].Int() == q.Keys.Parts[0].Ints[r.Row] && r.From <= e.Time && e.Time < r.To {
			in = append(in, e)
		}
	}
	slices.SortStableFunc(in, func(a, b featurestore.Event) int { return cmp.Compare(sight(q, &a), sight(q, &b)) })
	return in
}

func sight(q *training.Query, e *featurestore.Event) int64 {
	if q.Available {
		return max(e.Time+1, e.RecordTime)
	}
	return e.Time
}

func collect(t *testing.T, q *training.Query, ask func(yield func(r int, e *featurestore.Event) error) error) [][]featurestore.Event {
	t.Helper()
	got := make([][]featurestore.Event, len(q.Ranges))
	err := ask(func(r int, e *featurestore.Event) error {
		kept := *e
		kept.Values = make([]featurestore.Value, len(e.Values))
		for i, v := range e.Values {
			kept.Values[i] = v.Clone()
		}
		got[r] = append(got[r], kept)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sameEvent(a, b *featurestore.Event) bool {
	return a.Position == b.Position && a.RecordTime == b.RecordTime && a.Delete == b.Delete && slices.EqualFunc(a.Values, b.Values, featurestore.Value.Equal)
}

func TestWalkAndNewest(t *testing.T) {
	table, pool := open(t)
	list := ordersOf(t, table, 800)
	s := snapshot(t, pool, table, nil)
	for _, available := range []bool{false, true} {
		q := query(available)
		walked := collect(t, q, func(yield func(int, *featurestore.Event) error) error { return s.Walk(t.Context(), q, yield) })
		newest := collect(t, q, func(yield func(int, *featurestore.Event) error) error { return s.Newest(t.Context(), q, yield) })
		for i, r := range q.Ranges {
			want := expected(list, q, r)
			if len(walked[i]) != len(want) {
				t.Fatalf("range %d has %d events, not %d", i, len(walked[i]), len(want))
			}
			for j := range want {
				if sight(q, &walked[i][j]) != sight(q, &want[j]) || !slices.ContainsFunc(want, func(e featurestore.Event) bool { return sameEvent(&e, &walked[i][j]) }) {
					t.Errorf("event %d of range %d is %+v, want %+v", j, i, walked[i][j], want[j])
				}
			}
			if available {
				want = slices.DeleteFunc(want, func(e featurestore.Event) bool { return e.RecordTime > r.To })
			}
			if len(want) == 0 {
				if len(newest[i]) > 0 {
					t.Errorf("range %d has a newest event: %+v", i, newest[i])
				}
				continue
			}
			if last := slices.MaxFunc(want, func(a, b featurestore.Event) int { return a.Compare(b.Position) }); len(newest[i]) != 1 || !sameEvent(&newest[i][0], &last) {
				t.Errorf("the newest event of range %d is %+v, want %+v", i, newest[i], last)
			}
		}
	}
}

// TestSnapshotShowsOneMoment: neither what is added later nor, given the offsets of before,
// what was added since.
func TestSnapshotShowsOneMoment(t *testing.T) {
	table, pool := open(t)
	list := ordersOf(t, table, 100)
	before := snapshot(t, pool, table, nil)
	more := events(120)[100:]
	for i := range more {
		more[i].Values[0] = featurestore.IntValue(1)
	}
	process(t, table, more)
	again := snapshot(t, pool, table, before.Offsets())
	now := snapshot(t, pool, table, nil)
	q := query(false)
	count := func(s *Snapshot) (n int) {
		for _, events := range collect(t, q, func(yield func(int, *featurestore.Event) error) error { return s.Walk(t.Context(), q, yield) }) {
			n += len(events)
		}
		return n
	}
	want := 0
	for _, r := range q.Ranges {
		want += len(expected(list, q, r))
	}
	if a, b, c := count(before), count(again), count(now); a != want || b != want || c <= want {
		t.Errorf("%d events in the first snapshot, %d in one with its offsets, %d in a new one; %d were there", a, b, c, want)
	}
	ahead := slices.Clone(now.Offsets())
	ahead[0].Next++
	var fault *featurestore.Error
	if _, err := OpenSnapshot(t.Context(), pool, table.namespace, ahead); !errors.As(err, &fault) || fault.Code != featurestore.Unavailable {
		t.Errorf("offsets that history does not reach: %v", err)
	}
}

// TestHistoryThatIsNotThere is of no events: ingest has not seen the source, or the field.
func TestHistoryThatIsNotThere(t *testing.T) {
	table, pool := open(t)
	ordersOf(t, table, 10)
	s := snapshot(t, pool, table, nil)
	q := query(false)
	q.Source.Name = "nothing"
	for _, events := range collect(t, q, func(yield func(int, *featurestore.Event) error) error { return s.Walk(t.Context(), q, yield) }) {
		if len(events) > 0 {
			t.Error("events of a source without history")
		}
	}
	if _, _, err := s.Estimate(t.Context(), q); err != nil {
		t.Error(err)
	}
	q = query(false)
	q.Source.Fields = append(q.Source.Fields, featurestore.Field{Name: "new", Type: featurestore.ListOf(featurestore.Int64)})
	q.Fields = append(q.Fields, 6)
	n := 0
	for _, events := range collect(t, q, func(yield func(int, *featurestore.Event) error) error { return s.Walk(t.Context(), q, yield) }) {
		n += len(events)
	}
	if n == 0 {
		t.Error("no events once there is a field that history lacks")
	}
}

func TestReadingStopsWithItsCaller(t *testing.T) {
	table, pool := open(t)
	ordersOf(t, table, 100)
	s := snapshot(t, pool, table, nil)
	enough := errors.New("enough")
	q := query(false)
	if err := s.Walk(t.Context(), q, func(int, *featurestore.Event) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if err := s.Walk(t.Context(), q, func(int, *featurestore.Event) error { return nil }); err != nil {
		t.Errorf("after one that stopped: %v", err)
	}
}
