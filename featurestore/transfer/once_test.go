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
	s.idle()
	if before := s.load(good.Name); before != 0 {
		t.Error(before)
	}
	s.inPlace(n)
	s.check(s.table.IndexAll(t.Context()))
	if done, err := s.table.Indexed(t.Context()); err != nil || !done {
		t.Errorf("indexed: %v, %v", done, err)
	}
}

// idle waits until Postgres has ended what was stopped.
func (s *store) idle() {
	s.t.Helper()
	for busy := true; busy; {
		s.check(s.pool.QueryRow(s.t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid)
			WHERE l.relation::regclass::text LIKE '%' || $1 || '%' AND pid <> pg_backend_pid())`, s.namespace).Scan(&busy))
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
		if done[0].Before != want || done[1].Before != n || done[0].Events != n || done[1].Events != n || int64(told) != n-want {
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
	_, err := transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, name)}, func(*transfer.File, int) {
		_, second = transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, name)}, nil)
	})
	s.check(err)
	if !errors.Is(second, ingest.ErrLost) {
		t.Error(second)
	}
	s.inPlace(n)
}

// TestImportHoldsNobodyUp: while it is not committed others write to its months and to new
// ones, read them, index them, and make months that it comes to later.
func TestImportHoldsNobodyUp(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := s.table.NewWriter(id)
	_, err := w.Open(ctx, map[int32]ingest.Offsets{2: {End: 1e6}})
	s.check(err)
	offset := int64(0)
	// ingest brings an event of a day.
	ingested := func(month time.Month) {
		s.t.Helper()
		e := featurestore.Event{Position: featurestore.Position{Time: time.Date(2024, month, 10, 0, 0, 0, 0, time.UTC).UnixMicro(), Partition: 2, Offset: offset}, Values: make([]featurestore.Value, 8)}
		e.Values[0] = featurestore.IntValue(1_000_000 + offset)
		offset++
		s.check(w.Process(ctx, ingest.Batch{From: offset - 1, To: offset, Events: []featurestore.Event{e}}, 0))
	}
	ingested(time.January) // a month that is there already
	const n = 120_000
	turn, longest := 0, time.Duration(0)
	_, err = transfer.Import(ctx, s.namespace, s.table, []*transfer.File{opened(t, many(t, "many.csv", n))}, func(*transfer.File, int) {
		for _, month := range []time.Month{time.January, time.February, time.Month(4 + turn)} {
			began := time.Now()
			ingested(month)
			longest = max(longest, time.Since(began))
		}
		began := time.Now()
		if got := s.count(); got != int(offset) {
			t.Errorf("%d events are seen, not the %d of ingest", got, offset)
		}
		longest = max(longest, time.Since(began))
		turn++
	})
	s.check(err)
	if turn < 2 || longest > 2*time.Second {
		t.Errorf("%d turns; the longest wait was %s", turn, longest)
	}
	if got := s.count(); got != n+int(offset) {
		t.Errorf("%d events, not %d", got, n+int(offset))
	}
}

// TestIndexesWaitForImports without holding up who writes: an index that is made the fast way
// would let all writers wait behind it.
func TestIndexesWaitForImports(t *testing.T) {
	s := newStore(t)
	s.load(write(t, "past.csv", past)) // its months have no indexes
	indexing := make(chan error, 1)
	began := false
	_, err := transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, many(t, "many.csv", 60_000))}, func(*transfer.File, int) {
		if began {
			return
		}
		began = true
		go func() { indexing <- s.table.Index(t.Context()) }()
		s.waiting("CREATE INDEX CONCURRENTLY%")
		s.keep([]featurestore.Event{{Position: featurestore.Position{Time: 1_704_067_200_000_000, Partition: 2}, Values: make([]featurestore.Value, 8)}}, 1)
	})
	s.check(err)
	s.check(<-indexing)
	if done, err := s.table.Indexed(t.Context()); err != nil || !done {
		t.Errorf("indexed: %v, %v", done, err)
	}
}

// waiting waits until a statement of the namespace waits.
func (s *store) waiting(like string) {
	s.t.Helper()
	for waits := false; !waits; {
		s.check(s.pool.QueryRow(s.t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE query LIKE $1 AND query LIKE '%' || $2 || '%' AND wait_event_type = 'Lock')`, like, s.namespace).Scan(&waits))
	}
}

// TestRetentionWaitsForImports: it would wait for their months, and all others for it.
func TestRetentionWaitsForImports(t *testing.T) {
	s := newStore(t)
	s.load(write(t, "past.csv", past))
	brief := source()
	brief.Retention = 24 * time.Hour
	table, err := history.Open(t.Context(), s.pool, s.namespace, brief, nil)
	s.check(err)
	_, err = transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, write(t, "more.csv", past+"\n"))}, func(*transfer.File, int) {
		if dropped, err := table.Retain(t.Context(), time.Now()); !errors.Is(err, history.ErrRead) {
			t.Errorf("%v was dropped meanwhile, %v", dropped, err)
		}
	})
	s.check(err)
	if dropped, err := table.Retain(t.Context(), time.Now()); err != nil || len(dropped) != 2 {
		t.Errorf("%v was dropped after, %v", dropped, err)
	}
}

// TestImportThatLosesPostgres leaves nothing, and the next one doubles nothing.
func TestImportThatLosesPostgres(t *testing.T) {
	s := newStore(t)
	const n = 60_000
	name := many(t, "many.csv", n)
	_, err := transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, name)}, func(*transfer.File, int) {
		_, err := s.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
			AND relation = $1::regclass`, "onehop_"+s.namespace+".events")
		s.check(err)
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
	_, err := transfer.Import(t.Context(), s.namespace, s.table, []*transfer.File{opened(t, many(t, "many.csv", 20_000))}, func(*transfer.File, int) {
		s.check(s.pool.QueryRow(t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&copied))
	})
	s.check(err)
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
