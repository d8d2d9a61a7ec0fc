package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/transfer"
)

// many is a file of so many events, in turns of January, February and March.
func many(t *testing.T, name string, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,event_time\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,2024-0%d-01T00:00:00Z\n", i, 1+i%3)
	}
	return write(t, name, b.String())
}

// during imports a file and does work each time that some rows are copied, until that fails.
func (s *store) during(f *transfer.File, work func(rows int) error) error {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	var failed error
	_, err := transfer.Import(ctx, s.namespace, s.table, []*transfer.File{f}, func(_ *transfer.File, rows int) {
		if failed == nil {
			failed = work(rows)
		}
		if failed != nil {
			cancel()
		}
	})
	s.check(failed)
	return err
}

// ingested brings an event of a month of 2024 to history, as ingest does.
func (s *store) ingested(ctx context.Context, month time.Month) error {
	w := s.table.NewWriter(id)
	next, err := w.Open(ctx, map[int32]ingest.Offsets{2: {End: 1e6}})
	if err != nil {
		return err
	}
	e := featurestore.Event{Position: featurestore.Position{Time: time.Date(2024, month, 10, 0, 0, 0, 0, time.UTC).UnixMicro(), Partition: 2, Offset: next}, Values: make([]featurestore.Value, 8)}
	e.Values[0] = featurestore.IntValue(1_000_000 + next)
	return w.Process(ctx, ingest.Batch{From: next, To: next + 1, Events: []featurestore.Event{e}}, 0)
}

// offsets is how many partitions of the namespace have an offset.
func (s *store) offsets() (n int) {
	s.t.Helper()
	s.check(s.pool.QueryRow(s.t.Context(), "SELECT count(*) FROM onehop.offsets WHERE namespace = $1", s.namespace).Scan(&n))
	return n
}

// inPlace says that history has so many events, each once, each with its row's number.
func (s *store) inPlace(n int) {
	s.t.Helper()
	var all, distinct, right int
	s.check(s.pool.QueryRow(s.t.Context(), "SELECT count(*), count(DISTINCT f_id), count(*) FILTER (WHERE f_id = kafka_offset AND kafka_partition = -1) FROM onehop_"+
		s.namespace+".events").Scan(&all, &distinct, &right))
	if all != n || distinct != n || right != n {
		s.t.Errorf("%d events, %d different ones, %d in their places; want %d", all, distinct, right, n)
	}
}

// TestNothingIsImportedUnlessAllIs: neither when the last row of the last file is bad, nor
// when somebody stops it; and what is wrong with every file is told.
func TestNothingIsImportedUnlessAllIs(t *testing.T) {
	s := newStore(t)
	const n = 130_000
	good := opened(t, many(t, "good.csv", n))
	bad := opened(t, write(t, "bad.csv", past+"x,1,,,2024-01-01T00:00:00Z,,,,,\n"))
	worse := opened(t, write(t, "worse.csv", "id\n"))
	_, err := transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{good, bad, worse}, nil)
	for _, want := range []string{`bad.csv, row 3: column "record_time" cannot be read`, `worse.csv: there is no column "event_time"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if s.count() != 0 || s.offsets() != 0 {
		t.Errorf("%d events and %d offsets of files that are not good", s.count(), s.offsets())
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = transfer.Import(ctx, s.namespace, s.table, []*transfer.File{good}, func(_ *transfer.File, rows int) {
		if rows >= 40_000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || s.count() != 0 || s.offsets() != 0 {
		t.Errorf("%v, %d events and %d offsets of what was stopped", err, s.count(), s.offsets())
	}
	ended, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.check(s.until(ended, "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE relation::regclass::text LIKE '%' || $1 || '%' AND pid <> pg_backend_pid())"))
	if before := s.load(good.Name); before != 0 {
		t.Error(before)
	}
	s.inPlace(n)
	s.check(s.table.IndexAll(t.Context()))
	if done, err := s.table.Indexed(t.Context()); err != nil || !done {
		t.Errorf("indexed: %v, %v", done, err)
	}
}

// TestImportsOfEarlierReleasesGoOn: they copied batch by batch, and may have been stopped.
func TestImportsOfEarlierReleasesGoOn(t *testing.T) {
	s := newStore(t)
	const n, part = 60_000, 40_000
	name := many(t, "many.csv", n)
	w := s.table.NewWriter(ingest.PartitionID{Topic: opened(t, name).Topic(s.namespace), Partition: history.ImportPartition})
	_, err := w.Open(t.Context(), map[int32]ingest.Offsets{history.ImportPartition: {End: n}})
	s.check(err)
	list := make([]featurestore.Event, part)
	for i := range list {
		list[i] = featurestore.Event{Position: featurestore.Position{Time: start, Partition: history.ImportPartition, Offset: int64(i)}, Values: make([]featurestore.Value, 8)}
		list[i].Values[0] = featurestore.IntValue(int64(i))
	}
	s.check(w.Process(t.Context(), ingest.Batch{To: part, Events: list}, n))
	for _, want := range []int64{part, n} {
		if before := s.load(name); before != want {
			t.Errorf("%d events were there, not %d", before, want)
		}
		s.inPlace(n)
	}
}

// TestFilesThatAreThereAreNotRead again: neither later, nor in the same command by another
// name.
func TestFilesThatAreThereAreNotRead(t *testing.T) {
	s := newStore(t)
	const n = 20_000
	files := []*transfer.File{opened(t, many(t, "one.csv", n)), opened(t, many(t, "same.csv", n))}
	for _, want := range []int64{0, n} {
		told := 0
		done, err := transfer.Import(t.Context(), s.namespace, s.table, files, func(_ *transfer.File, rows int) { told += rows })
		s.check(err)
		if done[0].Before != want || done[1].Before != n || done[0].Events != n || done[1].Events != n || int64(told) != n-want || done[1].Took != 0 {
			t.Errorf("%+v, progress of %d rows", done, told)
		}
	}
	s.inPlace(n)
}

// TestTwoImportsOfOneFile at once: the second is told, and does not wait.
func TestTwoImportsOfOneFile(t *testing.T) {
	s := newStore(t)
	const n = 60_000
	name := many(t, "many.csv", n)
	var second error
	err := s.during(opened(t, name), func(int) error {
		_, second = transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, name)}, nil)
		return nil
	})
	s.check(err)
	if !errors.Is(second, ingest.ErrLost) {
		t.Error(second)
	}
	s.inPlace(n)
}

// TestImportHoldsNobodyUp: while it is not committed others write to its months and to new
// ones, read them, and make months that it comes to later.
func TestImportHoldsNobodyUp(t *testing.T) {
	s := newStore(t)
	s.check(s.ingested(t.Context(), time.January)) // a month that is there already
	const n = 120_000
	turns, there := 0, 1
	err := s.during(opened(t, many(t, "many.csv", n)), func(int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		turns++
		for _, month := range []time.Month{time.January, time.February, time.Month(3 + turns)} {
			if err := s.ingested(ctx, month); err != nil {
				return fmt.Errorf("ingest of month %d: %w", month, err)
			}
			there++
		}
		var seen int
		err := s.pool.QueryRow(ctx, "SELECT count(*) FROM onehop_"+s.namespace+".events").Scan(&seen)
		if err == nil && seen != there {
			err = fmt.Errorf("%d events are seen, not the %d of ingest", seen, there)
		}
		return err
	})
	s.check(err)
	if got := s.count(); turns < 2 || got != n+there {
		t.Errorf("%d events after %d turns, not %d", got, turns, n+there)
	}
}

// TestIndexesWaitForImports without holding up who writes: an index that is made the fast way
// would let all writers wait behind it.
func TestIndexesWaitForImports(t *testing.T) {
	s := newStore(t)
	s.load(write(t, "past.csv", past)) // its months have no indexes
	indexing := make(chan error, 1)
	began := false
	err := s.during(opened(t, many(t, "many.csv", 60_000)), func(int) error {
		if began {
			return nil
		}
		began = true
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		go func() { indexing <- s.table.Index(t.Context()) }()
		if err := s.until(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE query LIKE 'CREATE INDEX%' AND query LIKE '%' || $1 || '%' AND wait_event_type = 'Lock')`); err != nil {
			return fmt.Errorf("no index is made: %w", err)
		}
		return s.ingested(ctx, time.January)
	})
	s.check(err)
	s.check(<-indexing)
	if done, err := s.table.Indexed(t.Context()); err != nil || !done {
		t.Errorf("indexed: %v, %v", done, err)
	}
}

// until waits until a query with the namespace as its parameter answers true.
func (s *store) until(ctx context.Context, query string) error {
	for {
		var yes bool
		if err := s.pool.QueryRow(ctx, query, s.namespace).Scan(&yes); yes || err != nil {
			return err
		}
	}
}

// TestRetentionWaitsForImports, and nobody waits for it, as all would if it asked for the
// months.
func TestRetentionWaitsForImports(t *testing.T) {
	s := newStore(t)
	s.load(write(t, "past.csv", past))
	brief := source()
	brief.Retention = 24 * time.Hour
	table, err := history.Open(t.Context(), s.pool, s.namespace, brief, nil)
	s.check(err)
	s.check(s.during(opened(t, write(t, "more.csv", past+"\n")), func(int) error {
		began := time.Now()
		dropped, err := table.Retain(t.Context(), time.Now())
		if took := time.Since(began); !errors.Is(err, history.ErrRead) || took > time.Second {
			return fmt.Errorf("after %s: %v was dropped, %w", took, dropped, err)
		}
		return nil
	}))
	if dropped, err := table.Retain(t.Context(), time.Now()); err != nil || len(dropped) != 2 {
		t.Errorf("%v was dropped after, %v", dropped, err)
	}
}

// TestImportThatLosesPostgres leaves nothing, and the next one doubles nothing.
func TestImportThatLosesPostgres(t *testing.T) {
	s := newStore(t)
	const n = 60_000
	name := many(t, "many.csv", n)
	err := s.during(opened(t, name), func(int) error {
		_, err := s.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
			AND relation = $1::regclass`, "onehop_"+s.namespace+".events")
		return err
	})
	if err == nil || s.count() != 0 || s.offsets() != 0 {
		t.Errorf("%v, %d events and %d offsets", err, s.count(), s.offsets())
	}
	if before := s.load(name); before != 0 {
		t.Error(before)
	}
	s.inPlace(n)
}

// TestImportsAreOnTheDisk when they are done: nobody would bring them again after a crash of
// Postgres, as ingest does what it copied.
func TestImportsAreOnTheDisk(t *testing.T) {
	s := newStore(t)
	var copied string // where the log ends when all is copied
	s.check(s.during(opened(t, many(t, "many.csv", 20_000)), func(int) error {
		return s.pool.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&copied)
	}))
	var pending int
	s.check(s.pool.QueryRow(t.Context(), "SELECT ($1::text::pg_lsn - pg_current_wal_flush_lsn())::bigint", copied).Scan(&pending))
	if copied == "" || pending > 0 {
		t.Errorf("%d bytes of the log are not on the disk", pending)
	}
}

// TestFilesThatChange after they were opened are not imported.
func TestFilesThatChange(t *testing.T) {
	s := newStore(t)
	f := opened(t, write(t, "past.csv", past))
	s.check(os.WriteFile(f.Name, []byte(past+"\n"), 0o600))
	if _, err := transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{f}, nil); err == nil || !strings.Contains(err.Error(), "past.csv changed since it was opened") || s.count() != 0 {
		t.Errorf("%v, %d events", err, s.count())
	}
}
