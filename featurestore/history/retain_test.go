package history

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/training"
)

// monthsLeft are the ends of the names of the partitions that are there.
func monthsLeft(t *testing.T, table *Table) (list []string) {
	t.Helper()
	conn, err := table.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	months, err := table.leaves(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	for month := range months {
		list = append(list, strings.TrimPrefix(month, "events_"))
	}
	slices.Sort(list)
	return list
}

// retainedTable has events of each 10th of January, February and March 2026, and two of times
// that are nonsense, and keeps 30 days.
func retainedTable(t *testing.T) (*Table, []featurestore.Event) {
	t.Helper()
	table, _ := open(t)
	table.source.Retention = 30 * 24 * time.Hour
	list := events(32)
	list[30].Time, list[31].Time = 1e6, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	process(t, table, list)
	return table, list
}

// day is a moment of 2026.
func day(month time.Month, day int) time.Time {
	return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC)
}

// TestRetention drops months that are wholly older than the retention and a day, and no other.
func TestRetention(t *testing.T) {
	table, _ := retainedTable(t)
	for _, c := range []struct {
		now           time.Time
		dropped, left []string
	}{
		{day(3, 3), []string{"events_before_1990"}, []string{"2026_01", "2026_02", "2026_03", "from_2060"}}, // January's end is 30 days ago
		{day(3, 4).Add(-1), nil, []string{"2026_01", "2026_02", "2026_03", "from_2060"}},
		{day(3, 4), []string{"events_2026_01"}, []string{"2026_02", "2026_03", "from_2060"}},
		{day(12, 1).AddDate(100, 0, 0), []string{"events_2026_02", "events_2026_03"}, []string{"from_2060"}},
	} {
		dropped, err := table.Retain(t.Context(), c.now)
		if diff := cmp.Diff(c.dropped, dropped) + cmp.Diff(c.left, monthsLeft(t, table)); diff != "" || err != nil {
			t.Errorf("at %s: %v, %s", c.now, err, diff)
		}
	}
	table.source.Retention = 0
	if dropped, err := table.Retain(t.Context(), day(1, 1).AddDate(1000, 0, 0)); err != nil || dropped != nil {
		t.Error(dropped, err)
	}
}

// TestRowsThatReachBackAreRefused: history says that it has not all events, rather than to
// answer without those that it dropped.
func TestRowsThatReachBackAreRefused(t *testing.T) {
	table, list := retainedTable(t)
	pool := table.pool
	if _, err := table.Retain(t.Context(), day(3, 4)); err != nil {
		t.Fatal(err)
	}
	s := snapshot(t, pool, table, nil)
	if begin := s.Begin("events"); begin != day(2, 1).UnixMicro() || s.Begin("others") != 0 {
		t.Error(begin)
	}
	for _, c := range []struct {
		from int64
		want string
	}{
		{0, `a row needs all events of source "events", and history begins at 2026-02-01T00:00:00Z`},
		{day(2, 1).UnixMicro() - 1, "a row needs the events from 2026-01-31T23:59:59.999999Z on"},
		{day(2, 1).UnixMicro(), ""},
	} {
		q := query(false)
		q.Ranges = []training.Range{{Row: 4, From: day(2, 5).UnixMicro(), To: day(3, 1).UnixMicro()}, {Row: 4, From: c.from, To: day(3, 1).UnixMicro()}}
		for _, ask := range []func(yield func(int, *featurestore.Event) error) error{
			func(yield func(int, *featurestore.Event) error) error { return s.Walk(t.Context(), q, yield) },
			func(yield func(int, *featurestore.Event) error) error { return s.Newest(t.Context(), q, yield) },
		} {
			n := 0
			err := ask(func(int, *featurestore.Event) error { n++; return nil })
			var fault *featurestore.Error
			if c.want == "" && (err != nil || n != 2 || list[4].Values[0].Int() != 4) ||
				c.want != "" && (!errors.As(err, &fault) || fault.Code != featurestore.Invalid || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("from %d: %d events, %v; want %q", c.from, n, err, c.want)
			}
		}
	}
}

// TestNothingIsDroppedUnderAReader: a snapshot has what it had, to its end.
func TestNothingIsDroppedUnderAReader(t *testing.T) {
	table, _ := retainedTable(t)
	s := snapshot(t, table.pool, table, nil) // which has read nothing yet
	if _, err := table.Retain(t.Context(), day(3, 4)); !errors.Is(err, ErrRead) {
		t.Errorf("months were dropped under a reader: %v", err)
	}
	n := 0
	err := s.Scan(t.Context(), source(), 0, AllDays*MicrosPerDay, func(featurestore.TopicID, *featurestore.Event) error { n++; return nil })
	if err != nil || n != 32 {
		t.Errorf("%d events, %v", n, err)
	}
	s.Close(t.Context())
	idle := table.pool.AcquireAllIdle(t.Context()) // the reader's too: who drops is another one
	defer func() {
		for _, conn := range idle {
			conn.Release()
		}
	}()
	if dropped, err := table.Retain(t.Context(), day(3, 4)); err != nil || len(dropped) != 2 {
		t.Error(dropped, err)
	}
}

// TestSnapshotsWaitForWhoDrops: one that is opened meanwhile knows what is gone.
func TestSnapshotsWaitForWhoDrops(t *testing.T) {
	table, _ := retainedTable(t)
	tx, err := table.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }() // after a failure
	old, err := table.before(t.Context(), day(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := table.drop(t.Context(), tx, old); err != nil {
		t.Fatal(err)
	}
	opened := make(chan *Snapshot, 1)
	go func() {
		s, err := OpenSnapshot(t.Context(), table.pool, table.namespace, nil)
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waiting := 0; waiting == 0; <-tick.C {
		err := table.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks
			WHERE NOT granted AND locktype = 'advisory' AND objid::bigint = hashtext($1)::bigint & 4294967295`, readersLock(table.namespace)).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := <-opened
	if s == nil {
		return
	}
	defer s.Close(t.Context())
	if s.Begin("events") != day(2, 1).UnixMicro() {
		t.Errorf("history begins at %d to one who waited", s.Begin("events"))
	}
}

// TestMonthsThatAnotherProcessDropped are made again when there is an event for them.
func TestMonthsThatAnotherProcessDropped(t *testing.T) {
	table, list := retainedTable(t)
	other, err := Open(t.Context(), table.pool, table.namespace, table.source, table.keys)
	if err != nil {
		t.Fatal(err)
	}
	w := table.NewWriter(id)
	from, err := w.Open(t.Context(), logs)
	if err != nil {
		t.Fatal(err)
	}
	if dropped, err := other.Retain(t.Context(), day(3, 4)); err != nil || len(dropped) != 2 {
		t.Fatal(dropped, err)
	}
	late := list[0]
	late.Offset = from
	if err := w.Process(t.Context(), ingest.Batch{From: from, To: from + 1, Events: []featurestore.Event{late}}, 0); err != nil {
		t.Error(err)
	}
	if left := monthsLeft(t, table); !slices.Contains(left, "2026_01") {
		t.Error(left)
	}
}
