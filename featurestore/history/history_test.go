package history

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func source() *featurestore.Source {
	return &featurestore.Source{Name: "events", Fields: []featurestore.Field{
		{Name: "id", Type: featurestore.Int64, Required: true},
		{Name: "f", Type: featurestore.Float64},
		{Name: "s", Type: featurestore.String},
		{Name: "b", Type: featurestore.Bytes},
		{Name: "ok", Type: featurestore.Bool},
		{Name: "list", Type: featurestore.ListOf(featurestore.String)},
	}}
}

func open(t *testing.T) (*Table, *pgxpool.Pool) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	table, err := Open(t.Context(), pool, testenv.Namespace(t), source(), [][]string{{"id"}, {"s", "id"}})
	if err != nil {
		t.Fatal(err)
	}
	return table, pool
}

func events(n int) []featurestore.Event {
	list := make([]featurestore.Event, n)
	for i := range list {
		at := time.Date(2026, time.Month(1+i%3), 10, 0, 0, i, 0, time.UTC).UnixMicro()
		list[i] = featurestore.Event{
			Position: featurestore.Position{Time: at, Partition: 2, Offset: int64(i)}, RecordTime: at + 5,
			Values: []featurestore.Value{
				featurestore.IntValue(int64(i)), featurestore.FloatValue(.5), featurestore.StringValue("é"), featurestore.BytesValue([]byte{0, 255}),
				featurestore.BoolValue(true), featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue("a"), featurestore.StringValue("b")}),
			},
		}
		if i%2 == 1 { // everything that may be null is
			copy(list[i].Values[1:], make([]featurestore.Value, 5))
		}
	}
	return list
}

var (
	id   = ingest.PartitionID{Topic: featurestore.TopicID{7}, Partition: 2}
	logs = map[int32]ingest.Offsets{2: {End: 1000}}
)

func count(t *testing.T, pool *pgxpool.Pool, table *Table, where string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table.name()+" WHERE "+where).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRecordsAreKeptTypedAndOnce(t *testing.T) {
	table, pool := open(t)
	w := table.NewWriter(id)
	if from, err := w.Open(t.Context(), logs); err != nil || from != 0 {
		t.Fatalf("begins at %d, %v", from, err)
	}
	all := events(100)
	for range 2 { // the second time everything is there
		if err := w.Process(t.Context(), ingest.Batch{To: 60, Events: all[:60]}, 0); err != nil {
			t.Fatal(err)
		}
	}
	// A batch that overlaps brings only what is new.
	if err := w.Process(t.Context(), ingest.Batch{From: 50, To: 100, Events: all[50:]}, 0); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]int{
		"true": 100, "f_f IS NULL AND f_list IS NULL AND f_b IS NULL": 50,
		`f_f = .5 AND f_s = 'é' AND f_b = '\x00ff' AND f_ok AND f_list = '{a,b}'`:                              50,
		"kafka_partition = 2 AND kafka_offset = f_id AND record_time = event_time + interval '5 microseconds'": 100,
		"event_time >= '2026-02-01+00' AND event_time < '2026-03-01+00'":                                       33,
	} {
		if got := count(t, pool, table, where); got != want {
			t.Errorf("%s: %d rows, want %d", where, got, want)
		}
	}
	if from, err := table.NewWriter(id).Open(t.Context(), logs); err != nil || from != 100 {
		t.Errorf("a successor begins at %d, %v; want 100", from, err)
	}
	if _, err := table.NewWriter(id).Open(t.Context(), map[int32]ingest.Offsets{2: {Start: 200, End: 300}}); !errors.Is(err, ingest.ErrGone) {
		t.Errorf("offset 100 is needed and the log begins at 200: %v", err)
	}
}

// TestRivals lets two owners write the same partition: one of each batch wins, the other
// learns of it, and every record is there once.
// TestNonsensicalTimesAreKept copies events whose times are all over the place: nothing is
// lost, nothing stops, and the number of tables is bounded.
func TestNonsensicalTimesAreKept(t *testing.T) {
	table, pool := open(t)
	w := table.NewWriter(id)
	if _, err := w.Open(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	years := []int{1970, 1989, 1990, 2026, 2059, 2060, 2262, 9999, 10000, 146_000}
	list := events(len(years) + 700)
	for i := range list {
		if i < len(years) {
			list[i].Time = time.Date(years[i], 1, 1, 0, 0, 0, 1000, time.UTC).UnixMicro()
		} else { // a month each
			list[i].Time = time.Date(2100, time.Month(i), 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		}
		list[i].RecordTime = list[i].Time
	}
	for range 2 { // the second writer finds the tables
		if err := w.Process(t.Context(), ingest.Batch{From: w.next, To: w.next + int64(len(list)), Events: list}, 0); err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i].Offset += int64(len(list))
		}
		table.made.suffix = nil
	}
	for where, want := range map[string]int{
		"true": 2 * len(list), "tableoid::regclass::text LIKE '%events_before_1990'": 2 * 2, "tableoid::regclass::text LIKE '%events_1990_01'": 2,
		"tableoid::regclass::text LIKE '%events_2059_01'": 2, "tableoid::regclass::text LIKE '%events_from_2060'": 2 * (5 + 700),
		"event_time = '10000-01-01 00:00:00.000001+00'": 2,
	} {
		if got := count(t, pool, table, where); got != want {
			t.Errorf("%s: %d rows, want %d", where, got, want)
		}
	}
	if ready, err := table.Indexed(t.Context()); err != nil || !ready {
		t.Errorf("every partition has its indexes: %v, %v", ready, err)
	}
}

func TestRivals(t *testing.T) {
	table, pool := open(t)
	all := events(300)
	var group errgroup.Group
	for range 2 {
		group.Go(func() error {
			w := table.NewWriter(id)
			for {
				from, err := w.Open(t.Context(), logs)
				if err != nil {
					return err
				}
				if from == int64(len(all)) {
					return nil
				}
				to := min(from+17, int64(len(all)))
				err = w.Process(t.Context(), ingest.Batch{From: from, To: to, Events: all[from:to]}, 0)
				if err != nil && !errors.Is(err, ingest.ErrLost) {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := count(t, pool, table, "true"); got != len(all) {
		t.Fatalf("%d rows, want %d", got, len(all))
	}
	var distinct int
	if err := pool.QueryRow(t.Context(), "SELECT count(DISTINCT kafka_offset) FROM "+table.name()).Scan(&distinct); err != nil || distinct != len(all) {
		t.Fatalf("%d different offsets, %v", distinct, err)
	}
}

// TestAddedFields opens the table again for a source with one more field.
func TestAddedFields(t *testing.T) {
	table, pool := open(t)
	wider := source()
	wider.Fields = append(wider.Fields, featurestore.Field{Name: "added", Type: featurestore.Int64})
	again, err := Open(t.Context(), pool, table.namespace, wider, [][]string{{"id"}})
	if err != nil {
		t.Fatal(err)
	}
	w := again.NewWriter(id)
	if _, err := w.Open(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	list := events(1)
	list[0].Values = append(list[0].Values, featurestore.IntValue(9))
	if err := w.Process(t.Context(), ingest.Batch{To: 1, Events: list}, 0); err != nil {
		t.Fatal(err)
	}
	if got := count(t, pool, again, "f_added = 9"); got != 1 {
		t.Errorf("%d rows with the added field", got)
	}
}

// TestTombstonesAndOlderTables keeps a tombstone as a row that says so, in a table of
// before there were any.
func TestTombstonesAndOlderTables(t *testing.T) {
	table, pool := open(t)
	w := table.NewWriter(id)
	if _, err := w.Open(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	if err := w.Process(t.Context(), ingest.Batch{To: 10, Events: events(10)}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "ALTER TABLE "+table.name()+" DROP COLUMN deleted"); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), pool, table.namespace, source(), [][]string{{"id"}})
	if err != nil {
		t.Fatal(err)
	}
	list := events(12)[10:] // in a month that is there, and one element after the other
	list[1].Position, list[1].Index = list[0].Position, 1
	tombstone := featurestore.Event{Position: list[0].Position, Delete: true, RecordTime: list[0].Time, Values: make([]featurestore.Value, 6)}
	tombstone.Offset, tombstone.Values[0] = 11, featurestore.IntValue(3)
	w = again.NewWriter(id)
	if _, err := w.Open(t.Context(), logs); err != nil {
		t.Fatal(err)
	}
	if err := w.Process(t.Context(), ingest.Batch{From: 10, To: 12, Events: append(list, tombstone)}, 0); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]int{"NOT deleted": 12, "deleted AND f_id = 3 AND f_s IS NULL": 1, "kafka_offset = 10": 2, "kafka_offset = 10 AND event_index = 1": 1} {
		if got := count(t, pool, again, where); got != want {
			t.Errorf("%s: %d rows, want %d", where, got, want)
		}
	}
}

// BenchmarkCopyRow makes a row of COPY's data.
func BenchmarkCopyRow(b *testing.B) {
	list := events(2)
	c := newCopyReader(featurestore.TopicID{1}, 13, list, nil)
	buffer := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buffer = c.encoder.append(buffer[:0], &list[0])
	}
}
