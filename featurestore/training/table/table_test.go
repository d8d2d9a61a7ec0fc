package table_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
	"github.com/onehop/onehop/featurestore/training/table"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const definitions = `
namespace: shop
entities:
  - {name: user, keys: [{name: id, type: int64}]}
  - {name: place, keys: [{name: country, type: string}, {name: hash, type: bytes}]}
sources:
  - name: visits
    format: json
    event_time: {field: at, unit: us}
    fields:
      - {name: id, type: int64, required: true}
      - {name: country, type: string, required: true}
      - {name: hash, type: bytes, required: true}
      - {name: n, type: int64}
      - {name: x, type: float64}
      - {name: ok, type: bool}
      - {name: s, type: string}
      - {name: b, type: bytes}
views:
  - name: user
    entity: user
    source: visits
    features:
      - {name: n, aggregate: latest, field: n}
      - {name: x, aggregate: latest, field: x}
      - {name: ok, aggregate: latest, field: ok}
      - {name: s, aggregate: latest, field: s}
      - {name: b, aggregate: latest, field: b}
      - {name: ns, aggregate: last_n, n: 2, field: n}
      - {name: xs, aggregate: last_n, n: 2, field: x}
      - {name: oks, aggregate: last_n, n: 2, field: ok}
      - {name: ss, aggregate: last_n, n: 2, field: s}
      - {name: bs, aggregate: last_n, n: 2, field: b}
  - name: place
    entity: place
    source: visits
    features: [{name: n, aggregate: count, windows: [lifetime]}]
`

func newJoin(t *testing.T, features ...string) *training.Join {
	t.Helper()
	catalog, err := definition.Parse([]definition.File{{Name: "shop.yaml", Text: []byte(definitions)}})
	if err != nil {
		t.Fatal(err)
	}
	refs, err := plan.Expand(catalog, features)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(catalog, programs, refs)
	if err != nil {
		t.Fatal(err)
	}
	return training.NewJoin(p, programs)
}

// past is a history that keeps what it is asked for, and gives some events to the entity
// with id 1.
type past struct {
	asked  []question
	events []featurestore.Event
}

type question struct {
	id      int64
	country string
	hash    string
	to      int64
}

func (p *past) Estimate(context.Context, *training.Query) (events, entities float64, err error) {
	return 0, 1, nil
}

func (p *past) Walk(_ context.Context, q *training.Query, yield func(r int, e *featurestore.Event) error) error {
	for i, r := range q.Ranges {
		asked := question{to: r.To}
		for _, part := range q.Keys.Parts {
			switch {
			case part.Ints != nil:
				asked.id = part.Ints[r.Row]
			case part.Strings != nil:
				asked.country = part.Strings[r.Row]
			default:
				asked.hash = string(part.Bytes[r.Row])
			}
		}
		p.asked = append(p.asked, asked)
		for j := range p.events {
			if asked.id != 1 || p.events[j].Time >= r.To {
				continue
			}
			if err := yield(i, &p.events[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Newest is Walk's last event.
func (p *past) Newest(ctx context.Context, q *training.Query, yield func(r int, e *featurestore.Event) error) error {
	newest := map[int]featurestore.Event{}
	if err := p.Walk(ctx, q, func(r int, e *featurestore.Event) error { newest[r] = *e; return nil }); err != nil {
		return err
	}
	for i := range q.Ranges {
		if e, ok := newest[i]; ok {
			if err := yield(i, &e); err != nil {
				return err
			}
		}
	}
	return nil
}

// spineOf makes a spine of JSON rows, in two batches.
func spineOf(t *testing.T, rows string, fields ...arrow.Field) array.RecordReader {
	t.Helper()
	schema := arrow.NewSchema(fields, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	half := batch.NumRows() / 2
	first, second := batch.NewSlice(0, half), batch.NewSlice(half, batch.NumRows())
	defer first.Release()
	defer second.Release()
	spine, err := array.NewRecordReader(schema, []arrow.RecordBatch{first, second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spine.Release)
	return spine
}

func field(name string, typ arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: typ, Nullable: true}
}

func zoned(unit arrow.TimeUnit, zone string) arrow.DataType {
	return &arrow.TimestampType{Unit: unit, TimeZone: zone}
}

// join joins a spine and returns the rows as JSON.
func join(t *testing.T, j *training.Join, history training.History, spine array.RecordReader, o table.Options) ([]string, error) {
	t.Helper()
	tab, err := table.New(j, spine.Schema(), o)
	if err != nil {
		return nil, err
	}
	var rows []string
	err = tab.All(t.Context(), history, spine, func(batch arrow.RecordBatch) error {
		if !batch.Schema().Equal(tab.Schema()) {
			t.Errorf("a batch of %s, not of %s", batch.Schema(), tab.Schema())
		}
		text, err := batch.MarshalJSON()
		if err != nil {
			return err
		}
		for line := range strings.Lines(strings.Trim(string(text), "[]")) {
			rows = append(rows, strings.Trim(line, ",\n"))
		}
		return nil
	}, nil)
	return rows, err
}

var (
	int64s, texts = arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String
	utc           = zoned(arrow.Microsecond, "UTC")
)

const noon = 1_767_268_800_000_000 // 2026-01-01T12:00:00Z

func TestKeysOfEveryType(t *testing.T) {
	dictionary := func(values arrow.DataType) arrow.DataType {
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: values}
	}
	p := arrow.PrimitiveTypes
	for _, typ := range []arrow.DataType{p.Int8, p.Int16, p.Int32, p.Int64, p.Uint8, p.Uint16, p.Uint32, p.Uint64} {
		history := &past{}
		spine := spineOf(t, `[{"id": 7, "event_time": "2026-01-01T12:00:00Z"}, {"id": null, "event_time": "2026-01-01T12:00:00Z"}, {"id": 120, "event_time": "2026-01-01T12:00:00Z"}]`,
			field("id", typ), field("event_time", utc))
		rows, err := join(t, newJoin(t, "user.x"), history, spine, table.Options{Statuses: true})
		if err != nil {
			t.Error(typ, err)
			continue
		}
		if want := []question{{id: 7, to: noon}, {id: 120, to: noon}}; !slices.Equal(history.asked, want) {
			t.Errorf("%s: %+v, want %+v", typ, history.asked, want)
		}
		if len(rows) != 3 || !strings.Contains(rows[1], `"NOT_FOUND"`) {
			t.Errorf("%s: a row without a key: %v", typ, rows)
		}
	}
	b := arrow.BinaryTypes
	for _, types := range [][2]arrow.DataType{{b.String, b.Binary}, {b.LargeString, b.LargeBinary}, {dictionary(b.String), b.Binary}} {
		history := &past{}
		spine := spineOf(t, `[{"country": "it", "hash": "AAE=", "event_time": "2026-01-01T12:00:00Z"}, {"country": null, "hash": "AAE=", "event_time": "2026-01-01T12:00:00Z"},
			{"country": "it", "hash": null, "event_time": "2026-01-01T12:00:00Z"}, {"country": "é", "hash": "/w==", "event_time": "2026-01-01T12:00:00Z"}]`,
			field("country", types[0]), field("hash", types[1]), field("event_time", utc))
		if _, err := join(t, newJoin(t, "place.n_lifetime"), history, spine, table.Options{}); err != nil {
			t.Error(types, err)
			continue
		}
		if want := []question{{country: "it", hash: "\x00\x01", to: noon}, {country: "é", hash: "\xff", to: noon}}; !slices.Equal(history.asked, want) {
			t.Errorf("%s: %+v, want %+v", types, history.asked, want)
		}
	}
}

// TestDictionariesOfLargeTexts: nothing builds them, so this one is made of its parts.
func TestDictionariesOfLargeTexts(t *testing.T) {
	parts, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		field("index", arrow.PrimitiveTypes.Int8), field("text", arrow.BinaryTypes.LargeString), field("hash", arrow.BinaryTypes.Binary), field("event_time", utc),
	}, nil), strings.NewReader(`[{"index": 1, "text": "de", "hash": "AA==", "event_time": "2026-01-01T12:00:00Z"}, {"index": 0, "text": "it", "hash": "AA==", "event_time": "2026-01-01T12:00:00Z"}]`))
	if err != nil {
		t.Fatal(err)
	}
	defer parts.Release()
	typ := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.LargeString}
	countries := array.NewDictionaryArray(typ, parts.Column(0), parts.Column(1))
	defer countries.Release()
	schema := arrow.NewSchema([]arrow.Field{field("country", typ), field("hash", arrow.BinaryTypes.Binary), field("event_time", utc)}, nil)
	batch := array.NewRecordBatch(schema, []arrow.Array{countries, parts.Column(2), parts.Column(3)}, 2)
	defer batch.Release()
	whole, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Release()
	history := &past{}
	if _, err := join(t, newJoin(t, "place.n_lifetime"), history, whole, table.Options{}); err != nil {
		t.Fatal(err)
	}
	if want := []question{{country: "de", hash: "\x00", to: noon}, {country: "it", hash: "\x00", to: noon}}; !slices.Equal(history.asked, want) {
		t.Errorf("%+v, want %+v", history.asked, want)
	}
}

func TestTimesOfEveryType(t *testing.T) {
	for _, test := range []struct {
		typ  arrow.DataType
		text string
		want int64
	}{
		{zoned(arrow.Second, "UTC"), `"2026-01-01T12:00:01Z"`, noon + 1e6},
		{zoned(arrow.Millisecond, "UTC"), `"2026-01-01T12:00:00.001Z"`, noon + 1000},
		{zoned(arrow.Microsecond, "Europe/Rome"), `"2026-01-01T12:00:00.000001Z"`, noon + 1},
		{zoned(arrow.Nanosecond, "+01:00"), `"2026-01-01T12:00:00.000001999Z"`, noon + 1}, // an event at that microsecond may be later
		{texts, `"2026-01-01T12:00:00Z"`, noon},
		{texts, `"2026-01-01T13:00:00.000002999+01:00"`, noon + 2},
		{arrow.BinaryTypes.LargeString, `"2025-12-31T19:00:00-17:00"`, noon},
		{utc, `"1970-01-01T00:00:00Z"`, 0},
		{utc, `"2199-12-31T23:59:59.999999Z"`, 7_258_118_400_000_000 - 1},
	} {
		history := &past{}
		spine := spineOf(t, `[{"id": 7, "when": `+test.text+`}]`, field("id", int64s), field("when", test.typ))
		_, err := join(t, newJoin(t, "user.ss"), history, spine, table.Options{TimeColumn: "when"})
		if err != nil || len(history.asked) != 1 || history.asked[0].to != test.want {
			t.Errorf("%s of %s: %v, %v, want %d", test.text, test.typ, history.asked, err, test.want)
		}
	}
}

func TestMistakesOfSchemas(t *testing.T) {
	id, at := field("id", int64s), field("event_time", utc)
	for _, test := range []struct {
		fields []arrow.Field
		want   string
	}{
		{[]arrow.Field{at}, `the spine has no column "id", a join key of entity "user"`},
		{[]arrow.Field{id}, `the spine has no column "event_time" of times`},
		{[]arrow.Field{field("id", texts), at}, `column "id" is utf8; the join key of entity "user" is int64: give a column of integers`},
		{[]arrow.Field{field("id", arrow.PrimitiveTypes.Float64), at}, `column "id" is float64`},
		{[]arrow.Field{id, field("event_time", int64s)}, `column "event_time" is int64; times are`},
		{[]arrow.Field{id, field("event_time", zoned(arrow.Second, ""))}, `column "event_time" is a timestamp without a time zone`},
		{[]arrow.Field{id, at, field("user.x", texts)}, `column "user.x" of the spine has the name of a column that is to be added`},
		{[]arrow.Field{id, at, field("user.x.status", texts)}, `column "user.x.status" of the spine has the name`},
		{[]arrow.Field{id, at, field("a", texts), field("a", texts)}, `the spine has two columns "a"`},
	} {
		_, err := table.New(newJoin(t, "user.x"), arrow.NewSchema(test.fields, nil), table.Options{Statuses: true})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.fields, err, test.want)
		}
	}
	places := arrow.NewSchema([]arrow.Field{field("country", int64s), field("hash", texts), at}, nil)
	if _, err := table.New(newJoin(t, "place.n_lifetime"), places, table.Options{}); err == nil || !strings.Contains(err.Error(), "give a column of text") {
		t.Error(err)
	}
}

// TestMistakesOfCells: the row is counted over batches and chunks.
func TestMistakesOfCells(t *testing.T) {
	long := `"` + strings.Repeat("x", featurestore.MaxKeyBytes+1) + `"`
	longBytes := `"` + strings.Repeat("AAAA", featurestore.MaxKeyBytes/3+1) + `"`
	for _, test := range []struct {
		column string
		typ    arrow.DataType
		cell   string
		want   string
	}{
		{"event_time", texts, `"2026-01-01T12:00:00"`, "has no time zone"},
		{"event_time", texts, `"2026-01-01 12:00:00"`, "has no time zone"},
		{"event_time", texts, `"noon"`, `"noon" is no time such as`},
		{"event_time", texts, `"2200-01-01T00:00:00Z"`, "is not between 1970 and 2200"},
		{"event_time", utc, `null`, "there is no time"},
		{"event_time", utc, `"1969-12-31T23:59:59.999999Z"`, "is not between 1970 and 2200"},
		{"event_time", zoned(arrow.Nanosecond, "UTC"), `"1969-12-31T23:59:59.999999999Z"`, "is not between"},
		{"event_time", zoned(arrow.Second, "UTC"), `9223372036854775807`, "is not between"},
		{"event_time", zoned(arrow.Millisecond, "UTC"), `-9223372036854775807`, "is not between"},
		{"event_time", utc, `"2200-01-01T00:00:00Z"`, "2200-01-01T00:00:00Z is not between 1970 and 2200"},
		{"country", texts, `""`, "the key is empty"},
		{"country", texts, long, "the key has 1025 bytes; at most 1024 are allowed"},
		{"country", texts, `"a\u0000b"`, "holds a NUL"},
		{"hash", arrow.BinaryTypes.Binary, `""`, "the key is empty"},
		{"hash", arrow.BinaryTypes.Binary, longBytes, "at most 1024 are allowed"},
		{"id", arrow.PrimitiveTypes.Uint64, `9223372036854775808`, "9223372036854775808 is greater than any int64"},
	} {
		fields := []arrow.Field{field("id", int64s), field("country", texts), field("hash", arrow.BinaryTypes.Binary), field("event_time", utc)}
		rows := map[string]string{"id": "1", "country": `"it"`, "hash": `"AA=="`, "event_time": `"2026-01-01T12:00:00Z"`}
		row := func() string {
			return `{"id": ` + rows["id"] + `, "country": ` + rows["country"] + `, "hash": ` + rows["hash"] + `, "event_time": ` + rows["event_time"] + `}`
		}
		for i := range fields {
			if fields[i].Name == test.column {
				fields[i].Type = test.typ
			}
		}
		good := strings.Repeat(row()+",", 1030)
		rows[test.column] = test.cell
		text := "[" + good + row() + "]"
		for _, budget := range []int64{0, 1} {
			_, err := join(t, newJoin(t, "user.x", "place.n_lifetime"), &past{}, spineOf(t, text, fields...), table.Options{Budget: budget})
			if want := `row 1031, column "` + test.column + `": `; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s of %s is %s: %v, want %s%s", test.column, test.typ, test.cell, err, want, test.want)
			}
		}
	}
}
