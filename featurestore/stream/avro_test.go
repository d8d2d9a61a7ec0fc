package stream

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/onehop/onehop/featurestore"
)

// registry is a schema registry and a client of it.
func registry(t testing.TB) (*srfake.Registry, *Schemas) {
	t.Helper()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	schemas, err := NewSchemas(fake.URL(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(schemas.Close)
	return fake, schemas
}

// framed puts the id of a schema before a value.
func framed(id int, value []byte) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), value...))
}

const avroOrder = `{"type":"record","name":"Order","namespace":"shop","fields":[
	{"name":"buyer","type":"long"},
	{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID"]}},
	{"name":"amount","type":["null","double"]},
	{"name":"count","type":"int"},
	{"name":"paid","type":"boolean"},
	{"name":"raw","type":"bytes"},
	{"name":"hash","type":{"type":"fixed","name":"Hash","size":2}},
	{"name":"day","type":{"type":"int","logicalType":"date"}},
	{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
	{"name":"tags","type":{"type":"array","items":"string"}},
	{"name":"extra","type":"string"},
	{"name":"to","type":["null",{"type":"record","name":"Address","fields":[{"name":"city","type":["string","null"]}]}]},
	{"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
		{"name":"sku","type":"string"},{"name":"weight","type":"float"}]}}}]}`

func avroDatum() map[string]any {
	return map[string]any{
		"buyer": int64(42), "at": int64(recordMillis), "state": "PAID", "amount": 2.5, "count": int32(3), "paid": true,
		"raw": []byte{0, 1}, "hash": []byte{2, 3}, "day": int32(20000), "price": []byte{1, 0}, "tags": []any{"a", "b"}, "extra": "x",
		"to":    map[string]any{"city": "Ulm"},
		"items": []any{map[string]any{"sku": "tea", "weight": float32(.5)}, map[string]any{"sku": "cup", "weight": float32(.25)}},
	}
}

func avroSource() *featurestore.Source {
	one := featurestore.IntValue(1)
	return &featurestore.Source{
		Name: "orders", Format: featurestore.Avro, TimeField: "at", MaxAge: time.Hour, MaxSkew: time.Minute,
		Fields: []featurestore.Field{
			{Name: "buyer", Type: featurestore.Int64, Required: true},
			{Name: "state", Type: featurestore.String},
			{Name: "amount", Type: featurestore.Float64},
			{Name: "count", Type: featurestore.Float64},
			{Name: "paid", Type: featurestore.Bool},
			{Name: "raw", Type: featurestore.Bytes},
			{Name: "hash", Type: featurestore.Bytes},
			{Name: "day", Type: featurestore.Int64},
			{Name: "price", Type: featurestore.Bytes},
			{Name: "tags", Type: featurestore.ListOf(featurestore.String)},
			{Name: "city", Type: featurestore.String, Path: "to.city"},
			{Name: "at_ms", Type: featurestore.Int64, Path: "at"},
			{Name: "gone", Type: featurestore.String},
			{Name: "added", Type: featurestore.Int64, Default: &one},
		},
	}
}

// encodeAvro registers a schema and writes a value with it.
func encodeAvro(t testing.TB, fake *srfake.Registry, schema string, datum any) string {
	t.Helper()
	id, _, err := fake.RegisterSchema("orders-value", sr.Schema{Schema: schema, Type: sr.TypeAvro})
	if err != nil {
		t.Fatal(err)
	}
	value, err := avro.MustParse(schema).Encode(datum)
	if err != nil {
		t.Fatal(err)
	}
	return framed(id, value)
}

func TestAvro(t *testing.T) {
	fake, schemas := registry(t)
	d := NewDecoder([]Version{{Source: avroSource()}}, schemas)
	datum := avroDatum()
	events, err := d.Decode(t.Context(), record(encodeAvro(t, fake, avroOrder, datum), 0), nil)
	want := `3/7/0@0 [42 "PAID" 2.5 3 true 0x0001 0x0203 20000 0x0100 ["a" "b"] "Ulm" 1700000000000 null 1]`
	if err != nil || show(events) != want {
		t.Fatalf("%v\n%s\nwant\n%s", err, show(events), want)
	}
	datum["amount"], datum["to"] = nil, nil
	events, err = d.Decode(t.Context(), record(encodeAvro(t, fake, avroOrder, datum), 0), nil)
	if want := strings.NewReplacer("2.5", "null", `"Ulm"`, "null").Replace(want); err != nil || show(events) != want {
		t.Errorf("nulls: %v\n%s\nwant\n%s", err, show(events), want)
	}
	// Another writer: what it has not is null, what it has in addition is ignored.
	const other = `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"news","type":"string"},{"name":"buyer","type":"int"},
		{"name":"added","type":"long"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}`
	fake.Reset()
	schemas.known = map[int]*schema{}
	value := encodeAvro(t, fake, other, map[string]any{"news": "n", "buyer": 7, "added": int64(9), "at": int64(recordMillis*1000 + 5)})
	events, err = d.Decode(t.Context(), record(value, 0), nil)
	if want := "3/7/0@5 [7 null null null null null null null null null null 1700000000000005 null 9]"; err != nil || show(events) != want {
		t.Errorf("another writer: %v\n%s\nwant\n%s", err, show(events), want)
	}
}

func TestAvroExplode(t *testing.T) {
	fake, schemas := registry(t)
	source := avroSource()
	source.Explode = "items"
	source.Fields = []featurestore.Field{
		{Name: "sku", Type: featurestore.String, Path: "items.sku", Required: true},
		{Name: "weight", Type: featurestore.Float64, Path: "items.weight"},
		{Name: "buyer", Type: featurestore.Int64, Key: true},
	}
	r := record(encodeAvro(t, fake, avroOrder, avroDatum()), 0)
	r.Key = []byte("9")
	events, err := NewDecoder([]Version{{Source: source}}, schemas).Decode(t.Context(), r, nil)
	if want := "3/7/0@0 [\"tea\" 0.5 9]\n3/7/1@0 [\"cup\" 0.25 9]"; err != nil || show(events) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, show(events), want)
	}
}

// TestAvroScalarElements explodes an array that may hold nulls.
func TestAvroScalarElements(t *testing.T) {
	fake, schemas := registry(t)
	source := &featurestore.Source{Name: "s", Format: featurestore.Avro, TimeRecord: true, Explode: "ids", Fields: []featurestore.Field{
		{Name: "id", Type: featurestore.Int64, Path: "ids"},
	}}
	const schema = `{"type":"record","name":"Seen","fields":[{"name":"ids","type":{"type":"array","items":["null","long"]}}]}`
	value := encodeAvro(t, fake, schema, map[string]any{"ids": []any{int64(5), nil}})
	events, err := NewDecoder([]Version{{Source: source}}, schemas).Decode(t.Context(), record(value, 0), nil)
	if want := "3/7/0@0 [5]\n3/7/1@0 [null]"; err != nil || show(events) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, show(events), want)
	}
	source.Fields[0].Required = true
	if _, err := NewDecoder([]Version{{Source: source}}, schemas).Decode(t.Context(), record(value, 0), nil); err == nil || !strings.Contains(err.Error(), "element 2: required field") {
		t.Errorf("a required element that is null: %v", err)
	}
}

func TestAvroReferences(t *testing.T) {
	fake, schemas := registry(t)
	for subject, text := range map[string]string{"money": `{"type":"record","name":"shop.Money","fields":[{"name":"cents","type":"long"}]}`} {
		if _, _, err := fake.RegisterSchema(subject, sr.Schema{Schema: text}); err != nil {
			t.Fatal(err)
		}
	}
	const line = `{"type":"record","name":"shop.Line","fields":[{"name":"price","type":"shop.Money"}]}`
	const text = `{"type":"record","name":"shop.Order","fields":[{"name":"line","type":"shop.Line"},{"name":"tip","type":"shop.Money"}]}`
	money := sr.SchemaReference{Name: "shop.Money", Subject: "money", Version: 1}
	if _, _, err := fake.RegisterSchema("line", sr.Schema{Schema: line, References: []sr.SchemaReference{money}}); err != nil {
		t.Fatal(err)
	}
	id, _, err := fake.RegisterSchema("order", sr.Schema{Schema: text, References: []sr.SchemaReference{{Name: "shop.Line", Subject: "line", Version: 1}, money}})
	if err != nil {
		t.Fatal(err)
	}
	source := &featurestore.Source{Name: "s", Format: featurestore.Avro, TimeRecord: true, Fields: []featurestore.Field{
		{Name: "price", Type: featurestore.Int64, Path: "line.price.cents"}, {Name: "tip", Type: featurestore.Int64, Path: "tip.cents"},
	}}
	events, err := NewDecoder([]Version{{Source: source}}, schemas).Decode(t.Context(), record(framed(id, []byte{20, 4}), 0), nil)
	if want := "3/7/0@0 [10 2]"; err != nil || show(events) != want {
		t.Errorf("%v\n%s\nwant %s", err, show(events), want)
	}
}

func TestBadAvroSaysWhy(t *testing.T) {
	fake, schemas := registry(t)
	good := encodeAvro(t, fake, avroOrder, avroDatum())
	list, _, err := fake.RegisterSchema("list", sr.Schema{Schema: `{"type":"array","items":"long"}`})
	if err != nil {
		t.Fatal(err)
	}
	proto, _, err := fake.RegisterSchema("proto", sr.Schema{Schema: "syntax = \"proto3\"; message A {}", Type: sr.TypeProtobuf})
	if err != nil {
		t.Fatal(err)
	}
	broken, _, err := fake.RegisterSchema("broken", sr.Schema{Schema: `{"type":"nothing"}`})
	if err != nil {
		t.Fatal(err)
	}
	change := func(i int, typ featurestore.Type) *featurestore.Source {
		s := avroSource()
		s.Fields[i].Type = typ
		return s
	}
	path := avroSource()
	path.Fields[10].Path = "state.city"
	unit := avroSource()
	unit.TimeField, unit.Fields = "buyer", unit.Fields[1:2]
	late := avroDatum()
	late["at"] = int64(recordMillis + 61_000)
	short := avroSource()
	short.Fields[1].KeyBytes = 3
	for _, c := range []struct {
		name, value, want string
		source            *featurestore.Source
	}{
		{"empty", "", "does not begin with the id of a schema", avroSource()},
		{"no magic byte", "x" + good[1:], "does not begin with the id of a schema", avroSource()},
		{"truncated", good[:20], "does not fit its schema", avroSource()},
		{"too long", good + "x", "1 bytes after its value", avroSource()},
		{"unknown id", framed(99, nil), "does not know schema 99", avroSource()},
		{"no record", framed(list, []byte{0}), "is not that of a record", avroSource()},
		{"protobuf", framed(proto, []byte{0}), "is no Avro schema", avroSource()},
		{"broken schema", framed(broken, []byte{0}), "cannot be parsed", avroSource()},
		{"int for string", good, `field "buyer" is the whole number 42; string`, change(0, featurestore.String)},
		{"double for int", good, `field "amount" is a float or double; int64`, change(2, featurestore.Int64)},
		{"enum for bytes", good, `field "state" is a string or an enum; bytes`, change(1, featurestore.Bytes)},
		{"list for string", good, `field "tags" is an array; string`, change(9, featurestore.String)},
		{"wrong elements", good, `field "tags" element 1 is a string or an enum; int64`, change(9, featurestore.ListOf(featurestore.Int64))},
		{"path through a value", good, `"state" is a string or an enum; a record`, path},
		{"no unit", good, `field "buyer", the event time, is a number that does not say its unit`, unit},
		{"late", encodeAvro(t, fake, avroOrder, late), "after the record's timestamp", avroSource()},
		{"key too long", good, "is part of an entity's key", short},
	} {
		_, err := NewDecoder([]Version{{Source: c.source}}, schemas).Decode(t.Context(), record(c.value, 0), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something with %q", c.name, err, c.want)
		}
	}
}

// TestArraysOfNothing refuses schemas by which a short record could fill any memory, and
// no others.
func TestArraysOfNothing(t *testing.T) {
	const empty = `{"type":"record","name":"shop.Empty","fields":[{"name":"n","type":"null"}]}`
	for items, refused := range map[string]bool{
		`"null"`:                true,
		`"shop.Empty"`:          true,
		`["null"]`:              false,
		`["null","shop.Empty"]`: false,
		`{"type":"record","name":"In","fields":[{"name":"e","type":"shop.Empty"},{"name":"f","type":{"type":"fixed","name":"F","size":0}}]}`: true,
		`{"type":"record","name":"In","fields":[{"name":"e","type":"shop.Empty"},{"name":"b","type":"boolean"}]}`:                            false,
		`{"type":"record","name":"In","fields":[{"name":"next","type":["null","shop.In"]}]}`:                                                 false,
		`{"type":"map","values":{"type":"array","items":"null"}}`:                                                                            true,
		`{"type":"enum","name":"E","symbols":["A"]}`:                                                                                         false,
	} {
		text := `{"type":"record","name":"R","namespace":"shop","fields":[{"name":"a","type":["null",{"type":"array","items":` + items + `}]}]}`
		_, err := parseAvro(text, []reference{{"shop.Empty", empty}})
		if got := err != nil && strings.Contains(err.Error(), "take no bytes"); got != refused || err != nil && !refused {
			t.Errorf("an array of %s: %v", items, err)
		}
	}
}

// FuzzAvro feeds the decoder anything behind a known id; it may refuse, not panic.
func FuzzAvro(f *testing.F) {
	fake, schemas := registry(f)
	good := encodeAvro(f, fake, avroOrder, avroDatum())
	f.Add([]byte(good[5:]))
	f.Add([]byte{})
	id := int(binary.BigEndian.Uint32([]byte(good[1:5])))
	exploding := avroSource()
	exploding.Explode, exploding.Fields = "items", []featurestore.Field{{Name: "sku", Type: featurestore.String, Path: "items.sku"}}
	decoders := []*Decoder{NewDecoder([]Version{{Source: avroSource()}}, schemas), NewDecoder([]Version{{Source: exploding}}, schemas)}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, d := range decoders {
			_, _ = d.Decode(t.Context(), record(framed(id, value), 0), nil)
		}
	})
}

func BenchmarkAvro(b *testing.B) {
	fake, schemas := registry(b)
	d := NewDecoder([]Version{{Source: avroSource()}}, schemas)
	r, events := record(encodeAvro(b, fake, avroOrder, avroDatum()), 0), make([]featurestore.Event, 0, 1)
	for b.Loop() {
		if _, err := d.Decode(b.Context(), r, events); err != nil {
			b.Fatal(err)
		}
	}
}
