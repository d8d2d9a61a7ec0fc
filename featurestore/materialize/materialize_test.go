package materialize

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const all = `
namespace: shop
entities: [{name: pair, keys: [{name: user_id, type: int64}, {name: place, type: string}]}]
sources:
  - name: rows
    batch: {files: "*.parquet"}
    event_time: {field: "at \u00e9"}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: f, type: float64}
      - {name: place, type: string, required: true}
      - {name: b, type: bytes}
      - {name: ok, type: bool}
      - {name: floats, type: list<float64>}
      - {name: texts, type: list<string>}
      - {name: absent, type: int64, default: 7}
views:
  - {name: v, entity: pair, source: rows, features: [{name: n, aggregate: count, windows: [1h]}]}
`

// TestRecordsAreAccepted: the decoder of records reads the values that the row had, to the last bit.
func TestRecordsAreAccepted(t *testing.T) {
	catalog, err := definition.Options{}.Parse([]definition.File{{Name: "all.yaml", Text: []byte(all)}})
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "place", Type: arrow.BinaryTypes.String},
		{Name: "user_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "at é", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
		{Name: "f", Type: arrow.PrimitiveTypes.Float64},
		{Name: "b", Type: arrow.BinaryTypes.LargeBinary},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean},
		{Name: "floats", Type: arrow.ListOf(arrow.PrimitiveTypes.Float64)},
		{Name: "texts", Type: arrow.BinaryTypes.String},
		{Name: "more", Type: arrow.BinaryTypes.String},
	}, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(`[
		{"place": "a|\"é\\", "user_id": -9223372036854775808, "at é": "2026-01-01 00:00:00.123456789Z", "f": 5e-324, "b": "AP8=", "ok": true, "floats": [1e21, -0.1], "texts": "[\"\\u0001\"]", "more": "x"},
		{"place": "x", "user_id": 1, "at é": "2026-01-01 00:00:00Z", "f": 1.7976931348623157e308}
	]`))
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	source := &catalog.Sources[0]
	e := newEncoder(catalog, source)
	if err := errors.Join(e.bind(schema), e.open(schema, batch)); err != nil {
		t.Fatal(err)
	}
	decoder := stream.NewDecoder([]stream.Version{{Source: source}}, nil)
	want := [][]featurestore.Value{{
		featurestore.IntValue(math.MinInt64), featurestore.FloatValue(5e-324), featurestore.StringValue(`a|"é\`), featurestore.BytesValue([]byte{0, 255}),
		featurestore.BoolValue(true), featurestore.ListValue(featurestore.Float64, []featurestore.Value{featurestore.FloatValue(1e21), featurestore.FloatValue(-.1)}),
		featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue("\x01")}), featurestore.IntValue(7),
	}, {
		featurestore.IntValue(1), featurestore.FloatValue(math.MaxFloat64), featurestore.StringValue("x"), {}, {}, {}, {}, featurestore.IntValue(7),
	}}
	for i, key := range []string{`-9223372036854775808|a\|"é\\`, `1|x`} {
		row, err := e.row(i)
		if err != nil {
			t.Fatal(err)
		}
		events, err := decoder.Decode(t.Context(), &kgo.Record{Key: row.Key, Value: row.Value, Timestamp: time.Now()}, nil)
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %v", row.Value, err)
		}
		if diff := cmp.Diff(want[i], events[0].Values); diff != "" || string(row.Key) != key || events[0].Time != row.Time || row.Time != 1_767_225_600_123_456-int64(i)*123_456 {
			t.Errorf("key %s, time %d: %s", row.Key, row.Time, diff)
		}
	}
}

// TestNumbersThatAreNoJSON are refused before anything is written.
func TestNumbersThatAreNoJSON(t *testing.T) {
	catalog, err := definition.Options{}.Parse([]definition.File{{Name: "all.yaml", Text: []byte(all)}})
	if err != nil {
		t.Fatal(err)
	}
	e := newEncoder(catalog, &catalog.Sources[0])
	for _, x := range []float64{math.NaN(), math.Inf(1)} {
		b := array.NewFloat64Builder(memory.DefaultAllocator)
		b.Append(x)
		column := b.NewArray()
		b.Release()
		f := &catalog.Sources[0].Fields[1]
		read, err := e.reader(f, column)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := read(0)
		if e.cells.Check(f, &v) == nil {
			t.Errorf("%v is accepted", x)
		}
		column.Release()
	}
}

// TestSorter: all rows come in order, those of one time as they were added, in memory and from files.
func TestSorter(t *testing.T) {
	for _, limit := range []int{0, 1, 700, 5000} {
		random := rand.New(rand.NewPCG(uint64(limit), 2)) //nolint:gosec // a test that can be repeated
		s := &sorter{limit: limit}
		var want []stream.Row
		for i := range 500 {
			row := stream.Row{Time: random.Int64N(100) - 3, Value: fmt.Append(nil, i)}
			if i%3 > 0 {
				row.Key = fmt.Append(nil, "key ", i)
			}
			want = append(want, row)
			if err := s.add(row); err != nil {
				t.Fatal(err)
			}
		}
		if (len(s.runs) > 1) != (limit > 0) {
			t.Errorf("limit %d: %d files", limit, len(s.runs))
		}
		slices.SortStableFunc(want, func(a, b stream.Row) int { return int(a.Time - b.Time) })
		var got []stream.Row
		err := s.each(func(row stream.Row) error { got = append(got, row); return nil })
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("limit %d: %v %s", limit, err, diff)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}
