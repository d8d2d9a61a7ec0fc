package transfer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/ingest"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/transfer"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// source has a field of each type, and one whose name exports have for something else.
func source() *featurestore.Source {
	one := featurestore.FloatValue(1)
	return &featurestore.Source{Name: "events", MaxAge: 24 * time.Hour, MaxSkew: time.Minute, Fields: []featurestore.Field{
		{Name: "id", Type: featurestore.Int64, Required: true},
		{Name: "f", Type: featurestore.Float64, Default: &one},
		{Name: "s", Type: featurestore.String, KeyBytes: 5},
		{Name: "b", Type: featurestore.Bytes},
		{Name: "ok", Type: featurestore.Bool},
		{Name: "list", Type: featurestore.ListOf(featurestore.String)},
		{Name: "ints", Type: featurestore.ListOf(featurestore.Int64)},
		{Name: "deleted", Type: featurestore.String},
	}}
}

// store is a namespace's history of the source.
type store struct {
	t         *testing.T
	pool      *pgxpool.Pool
	namespace string
	table     *history.Table
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{t: t, namespace: testenv.Namespace(t)}
	var err error
	s.pool, err = pgxpool.New(t.Context(), testenv.Postgres(t))
	s.check(err)
	t.Cleanup(s.pool.Close)
	_, err = migrations.Up(t.Context(), s.pool)
	s.check(err)
	s.table, err = history.Open(t.Context(), s.pool, s.namespace, source(), [][]string{{"id"}})
	s.check(err)
	return s
}

func (s *store) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

var (
	id    = ingest.PartitionID{Topic: featurestore.TopicID{7, 1}, Partition: 2}
	start = time.Date(2026, 1, 30, 22, 0, 0, 1000, time.UTC).UnixMicro()
)

// events are of every hour from the evening of January 30th on: of three days in 50 hours.
func events(n int) []featurestore.Event {
	list := make([]featurestore.Event, n)
	for i := range list {
		at := start + int64(i)*3600e6
		e := &list[i]
		*e = featurestore.Event{
			Position:   featurestore.Position{Time: at, Partition: 2, Offset: int64(i), Index: int32(i % 3)},
			RecordTime: at + 5, Values: make([]featurestore.Value, 8),
		}
		e.Values[0] = featurestore.IntValue(int64(i))
		if i%2 == 1 { // all others are null
			e.Values[1] = featurestore.FloatValue(2)
			e.Delete = i%10 == 1
			continue
		}
		e.Values = []featurestore.Value{
			e.Values[0], featurestore.FloatValue(float64(i) / 7), featurestore.StringValue("é"), featurestore.BytesValue([]byte{0, 255}),
			featurestore.BoolValue(i%4 == 0), featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue("a,"), featurestore.StringValue(`"b`)}),
			featurestore.ListValue(featurestore.Int64, []featurestore.Value{}), featurestore.StringValue("no"),
		}
	}
	return list
}

// keep brings events to history, after those that are there.
func (s *store) keep(list []featurestore.Event, to int64) {
	s.t.Helper()
	w := s.table.NewWriter(id)
	from, err := w.Open(s.t.Context(), map[int32]ingest.Offsets{2: {End: 1e6}})
	s.check(err)
	s.check(w.Process(s.t.Context(), ingest.Batch{From: from, To: to, Events: list}, 0))
}

// all are the events of history, by time.
func (s *store) all() (list []featurestore.Event, topics []featurestore.TopicID) {
	s.t.Helper()
	snapshot := s.snapshot()
	s.check(snapshot.Scan(s.t.Context(), source(), 0, history.AllDays*history.MicrosPerDay, func(topic featurestore.TopicID, e *featurestore.Event) error {
		kept := *e
		kept.Values = nil
		for _, v := range e.Values {
			kept.Values = append(kept.Values, v.Clone())
		}
		list, topics = append(list, kept), append(topics, topic)
		return nil
	}))
	slices.SortStableFunc(list, func(a, b featurestore.Event) int { return a.Compare(b.Position) })
	return list, topics
}

func (s *store) snapshot() *history.Snapshot {
	s.t.Helper()
	snapshot, err := history.OpenSnapshot(s.t.Context(), s.pool, s.namespace, nil)
	s.check(err)
	s.t.Cleanup(func() { snapshot.Close(context.Background()) })
	return snapshot
}

func (s *store) count() (n int) {
	s.t.Helper()
	s.check(s.pool.QueryRow(s.t.Context(), "SELECT count(*) FROM onehop_"+s.namespace+".events").Scan(&n))
	return n
}

// export writes the days that are not written, and says which.
func (s *store) export(dir string) (days []string) {
	s.t.Helper()
	snapshot := s.snapshot()
	x := transfer.NewExport(s.namespace, source(), dir)
	list, err := snapshot.Days(s.t.Context(), "events", 0, history.AllDays)
	s.check(err)
	for _, d := range list {
		written, err := x.Written(d)
		s.check(err)
		if written {
			continue
		}
		n, err := x.Day(s.t.Context(), snapshot, d.Number)
		if s.check(err); n != d.Events {
			s.t.Errorf("%d events of day %s, which has %d", n, transfer.DayText(d.Number), d.Events)
		}
		days = append(days, transfer.DayText(d.Number))
	}
	return days
}

// shown are the rows of a file, as JSON, in the order of their offsets.
func shown(t *testing.T, name string) (schema *arrow.Schema, rows []string) {
	t.Helper()
	r, err := files.Open(t.Context(), name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for r.Next() {
		text, err := r.RecordBatch().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.Trim(string(text), "[]")) {
			rows = append(rows, strings.Trim(line, ",\n"))
		}
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return r.Schema(), rows
}

func TestExportHasEveryEventOnItsDay(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	list := events(50)
	s.keep(list, 50)
	days := s.export(dir)
	if diff := cmp.Diff([]string{"2026-01-30", "2026-01-31", "2026-02-01"}, days); diff != "" {
		t.Fatal(days, diff)
	}
	next := 0
	for _, day := range days {
		schema, rows := shown(t, filepath.Join(dir, "day="+day, "part-0.parquet"))
		for i, f := range schema.Fields() {
			want := []string{
				"event_time timestamp[us, tz=UTC]", "record_time timestamp[us, tz=UTC]", "topic_id utf8", "kafka_partition int32", "kafka_offset int64",
				"event_index int32", "deleted bool", "id int64", "f float64", "s utf8", "b binary", "ok bool", "list list<element: utf8, nullable>", "ints list<element: int64, nullable>", "f_deleted utf8",
			}[i]
			if got := f.Name + " " + f.Type.String(); got != want {
				t.Errorf("column %d is %q, not %q", i, got, want)
			}
		}
		for _, row := range rows {
			e := &list[next]
			if got := time.UnixMicro(e.Time).UTC().Format(time.DateOnly); got != day {
				t.Errorf("event %d is on %s, not on %s", next, day, got)
			}
			if want := asJSON(e); row != want {
				t.Errorf("event %d is\n%s, not\n%s", next, row, want)
			}
			next++
		}
	}
	if next != len(list) {
		t.Errorf("%d events were exported of %d", next, len(list))
	}
}

// asJSON is the row that an event of events becomes.
func asJSON(e *featurestore.Event) string {
	at := func(us int64) string { return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.999999Z") }
	row := fmt.Sprintf(`{"b":null,"deleted":%v,"event_index":%d,"event_time":"%s","f":%v,"f_deleted":null,"id":%d,"ints":null,"kafka_offset":%d,"kafka_partition":2,"list":null,"ok":null,"record_time":"%s","s":null,"topic_id":"%s"}`,
		e.Delete, e.Index, at(e.Time), e.Values[1].Float(), e.Values[0].Int(), e.Offset, at(e.RecordTime), id.Topic)
	if e.Values[2].IsNull() {
		return row
	}
	return strings.NewReplacer(`"b":null`, `"b":"AP8="`, `"f_deleted":null`, `"f_deleted":"no"`, `"ints":null`, `"ints":[]`, `"list":null`, `"list":["a,","\"b"]`,
		`"ok":null`, fmt.Sprintf(`"ok":%v`, e.Values[4].Bool()), `"s":null`, `"s":"é"`).Replace(row)
}

// TestExportAddsWhatIsNew: a day is written again when history has more events of it, or
// fewer, and only then; and never over those of another source.
func TestExportAddsWhatIsNew(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	list := events(50)
	s.keep(list[:40], 40)
	if days := s.export(dir); len(days) != 3 {
		t.Fatal(days)
	}
	if days := s.export(dir); len(days) != 0 {
		t.Errorf("%v were written again", days)
	}
	list[49].Time = list[5].Time // late
	s.keep(list[40:], 50)
	if diff := cmp.Diff([]string{"2026-01-31", "2026-02-01"}, s.export(dir)); diff != "" {
		t.Error(diff)
	}
	if _, rows := shown(t, filepath.Join(dir, "day=2026-01-31", "part-0.parquet")); len(rows) != 25 {
		t.Errorf("%d events, not 24 and a late one", len(rows))
	}
	other := transfer.NewExport(s.namespace, &featurestore.Source{Name: "others"}, dir)
	day := list[0].Time / history.MicrosPerDay
	if _, err := other.Written(history.Day{Number: day}); err == nil || !strings.Contains(err.Error(), "has other events than those of "+s.namespace+".others") {
		t.Error(err)
	}
}

// TestExportOfLargeEvents: a row group ends before its bytes are many.
func TestExportOfLargeEvents(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	list := events(2)
	large := featurestore.StringValue(strings.Repeat("x", 1<<20))
	var many []featurestore.Event
	for i := range 160 {
		e := list[0]
		e.Offset, e.Values = int64(i), slices.Clone(e.Values)
		e.Values[7] = large
		many = append(many, e)
	}
	s.keep(many, int64(len(many)))
	s.export(dir)
	name := filepath.Join(dir, "day=2026-01-30", "part-0.parquet")
	f, err := file.OpenParquetFile(name, false)
	s.check(err)
	defer func() { s.check(f.Close()) }()
	if f.NumRows() != 160 || f.NumRowGroups() != 3 {
		t.Errorf("%d rows of 1 MiB in %d row groups", f.NumRows(), f.NumRowGroups())
	}
	stats, err := f.MetaData().RowGroup(0).ColumnChunk(0)
	s.check(err)
	if set, err := stats.StatsSet(); err != nil || !set {
		t.Errorf("event_time has no statistics: %v", err)
	}
}

// TestExportThatFailsLeavesNothing: neither a file nor a directory.
func TestExportThatFailsLeavesNothing(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	s.keep(events(50), 50)
	ctx, cancel := context.WithCancel(t.Context())
	x := transfer.NewExport(s.namespace, source(), dir)
	snapshot := s.snapshot()
	cancel()
	if _, err := x.Day(ctx, snapshot, start/history.MicrosPerDay); err == nil {
		t.Error("no error")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}
