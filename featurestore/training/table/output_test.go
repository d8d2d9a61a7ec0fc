package table_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/training/table"
)

func visit(at int64, values ...featurestore.Value) featurestore.Event {
	return featurestore.Event{
		Position: featurestore.Position{Time: at, Offset: at}, RecordTime: at,
		Values: append([]featurestore.Value{featurestore.IntValue(1), featurestore.StringValue("it"), featurestore.BytesValue([]byte{0})}, values...),
	}
}

func TestValuesOfEveryType(t *testing.T) {
	history := &past{events: []featurestore.Event{
		visit(noon-2, featurestore.IntValue(-5), featurestore.FloatValue(.5), featurestore.BoolValue(true), featurestore.StringValue("é"), featurestore.BytesValue([]byte{0, 255})),
		visit(noon-1, featurestore.Value{}, featurestore.Value{}, featurestore.Value{}, featurestore.Value{}, featurestore.Value{}),
	}}
	spine := spineOf(t, `[
		{"label": [1.5], "id": 2, "event_time": "2026-01-01T12:00:00Z"},
		{"label": null, "id": 1, "event_time": "2026-01-01T12:00:00Z"},
		{"label": [], "id": 1, "event_time": "2026-01-01T11:59:59.999999Z"}]`,
		field("label", arrow.ListOf(arrow.PrimitiveTypes.Float64)), field("id", int64s), field("event_time", utc))
	rows, err := join(t, newJoin(t, "user.*"), history, spine, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"event_time":"2026-01-01T12:00:00Z","id":2,"label":[1.5],"user.b":null,"user.bs":null,"user.n":null,"user.ns":null,"user.ok":null,"user.oks":null,"user.s":null,"user.ss":null,"user.x":null,"user.xs":null}`,
		`{"event_time":"2026-01-01T12:00:00Z","id":1,"label":null,"user.b":null,"user.bs":["AP8="],"user.n":null,"user.ns":[-5],"user.ok":null,"user.oks":[true],"user.s":null,"user.ss":["é"],"user.x":null,"user.xs":[0.5]}`,
		`{"event_time":"2026-01-01T11:59:59.999999Z","id":1,"label":[],"user.b":"AP8=","user.bs":["AP8="],"user.n":-5,"user.ns":[-5],"user.ok":true,"user.oks":[true],"user.s":"é","user.ss":["é"],"user.x":0.5,"user.xs":[0.5]}`,
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
}

func TestStatusesAndEventTimes(t *testing.T) {
	history := &past{events: []featurestore.Event{visit(noon-2, featurestore.IntValue(-5), featurestore.Value{}, featurestore.Value{}, featurestore.Value{}, featurestore.Value{})}}
	spine := spineOf(t, `[{"id": 2, "event_time": "2026-01-01T12:00:00Z"}, {"id": 1, "event_time": "2026-01-01T12:00:00Z"}]`, field("id", int64s), field("event_time", utc))
	tab, err := table.New(newJoin(t, "user.n", "user.x"), spine.Schema(), table.Options{Statuses: true, EventTimes: true})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range tab.Schema().Fields() {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "id event_time user.n user.n.status user.n.event_time user.x user.x.status user.x.event_time" {
		t.Error(got)
	}
	rows, err := join(t, newJoin(t, "user.n", "user.x"), history, spine, table.Options{Statuses: true, EventTimes: true})
	want := []string{
		`{"event_time":"2026-01-01T12:00:00Z","id":2,"user.n":null,"user.n.event_time":null,"user.n.status":"NOT_FOUND","user.x":null,"user.x.event_time":null,"user.x.status":"NOT_FOUND"}`,
		`{"event_time":"2026-01-01T12:00:00Z","id":1,"user.n":-5,"user.n.event_time":"2026-01-01T11:59:59.999998Z","user.n.status":"PRESENT","user.x":null,"user.x.event_time":"2026-01-01T11:59:59.999998Z","user.x.status":"NULL"}`,
	}
	if diff := cmp.Diff(want, rows); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// longSpine has rows 0 to n−1 of ids 0 to 9, in batches of unlike sizes, in memory that is
// counted.
func longSpine(t *testing.T, mem memory.Allocator, n int) array.RecordReader {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{field("id", int64s), field("event_time", utc), field("row", int64s)}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	var batches []arrow.RecordBatch
	for row := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(row % 10))
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(noon + row))
		b.Field(2).(*array.Int64Builder).Append(int64(row))
		if row%777 == 0 || row == n-1 || row == n-10_000 {
			batches = append(batches, b.NewRecordBatch())
		}
		if row == n-11_000 { // a long one, and one without rows
			batches = append(batches, b.NewRecordBatch(), b.NewRecordBatch())
		}
	}
	spine, err := array.NewRecordReader(schema, batches)
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range batches {
		batch.Release()
	}
	return spine
}

// TestChunks: every row once, in order, whatever the chunks, from any row on; and no memory
// is kept.
func TestChunks(t *testing.T) {
	const n = 30_000
	for _, test := range []struct {
		budget, skip int64
		chunks       int
	}{{0, 0, 1}, {1, 0, 30}, {1, 2500, 27}, {0, n, 0}, {0, n - 1, 1}} {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		spine := longSpine(t, mem, n)
		tab, err := table.New(newJoin(t, "user.n", "user.ss"), spine.Schema(), table.Options{Budget: test.budget, Skip: test.skip, Allocator: mem})
		if err != nil {
			t.Fatal(err)
		}
		next, chunks, done := test.skip, 0, test.skip
		err = tab.All(t.Context(), &past{}, spine, func(batch arrow.RecordBatch) error {
			if batch.NumRows() > table.MaxBatchRows {
				t.Errorf("a batch of %d rows", batch.NumRows())
			}
			for _, row := range batch.Column(2).(*array.Int64).Int64Values() {
				if row != next {
					return fmt.Errorf("row %d where %d was to come", row, next)
				}
				next++
			}
			return nil
		}, func(c table.Chunked) error {
			chunks++
			done = c.Rows
			if c.Rows != next || len(c.Views) != 1 || c.Views[0].View != "user" {
				t.Errorf("told of %+v after row %d", c, next)
			}
			return nil
		})
		spine.Release()
		if err != nil || next != n || done != n || chunks != test.chunks {
			t.Errorf("%+v: %v, %d rows, %d told, %d chunks", test, err, next, done, chunks)
		}
		mem.AssertSize(t, 0)
	}
}

// TestFailures: whoever fails, the error comes through and nothing is kept.
func TestFailures(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	enough := errors.New("enough")
	for _, fail := range []string{"emit", "done", "skip"} {
		spine := longSpine(t, mem, 12_000)
		o := table.Options{Allocator: mem, Budget: 1}
		if fail == "skip" {
			o.Skip = 12_001
		}
		tab, err := table.New(newJoin(t, "user.n"), spine.Schema(), o)
		if err != nil {
			t.Fatal(err)
		}
		told := func(who string) error {
			if who == fail {
				return enough
			}
			return nil
		}
		err = tab.All(t.Context(), &past{}, spine, func(arrow.RecordBatch) error { return told("emit") }, func(table.Chunked) error { return told("done") })
		if fail == "skip" && (err == nil || !strings.Contains(err.Error(), "the spine has 12000 rows; 12001 were to be skipped")) || fail != "skip" && !errors.Is(err, enough) {
			t.Errorf("%s: %v", fail, err)
		}
		spine.Release()
	}
	mem.AssertSize(t, 0)
}

// TestWideSpinesMakeSmallChunks: the spine's own columns count too.
func TestWideSpinesMakeSmallChunks(t *testing.T) {
	var rows []string
	for i := range 4096 {
		rows = append(rows, fmt.Sprintf(`{"id": %d, "event_time": "2026-01-01T12:00:00Z", "text": "%s"}`, i, strings.Repeat("x", 1000)))
	}
	schema := arrow.NewSchema([]arrow.Field{field("id", int64s), field("event_time", utc), field("text", texts)}, nil)
	var batches []arrow.RecordBatch
	for part := range slices.Chunk(rows, 512) {
		batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader("["+strings.Join(part, ",")+"]"))
		if err != nil {
			t.Fatal(err)
		}
		defer batch.Release()
		batches = append(batches, batch)
	}
	all, err := array.NewRecordReader(schema, batches)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Release()
	tab, err := table.New(newJoin(t, "user.n"), all.Schema(), table.Options{Budget: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	chunks := 0
	err = tab.All(t.Context(), &past{}, all, func(arrow.RecordBatch) error { return nil }, func(table.Chunked) error { chunks++; return nil })
	if err != nil || chunks < 2 || chunks > 3 {
		t.Errorf("%v, %d chunks of 4 MB where 2 MB are allowed", err, chunks)
	}
}
