package transfer_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/history"
	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/transfer"
)

// write makes a file with a text.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opened opens a file of the source's events.
func opened(t *testing.T, name string) *transfer.File {
	t.Helper()
	f, err := transfer.Open(source(), name, map[string]bool{"0f01" + strings.Repeat("0", 28): true})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// load imports a file, and says how many of its events were there.
func (s *store) load(name string) int64 {
	s.t.Helper()
	done, err := transfer.Import(s.t.Context(), s.namespace, s.table, []*transfer.File{opened(s.t, name)}, nil)
	s.check(err)
	return done[0].Before
}

const past = "\ufeff" + `record_time,id,f,s,event_time,b,ok,list,ints,f_deleted
2024-01-01t00:00:05z,1,0.5,é,2024-01-01T00:00:00Z,AP8=,true,"[""a,"",""\""b""]","[1,-2]",no
,2,,,2024-02-01T01:00:00.000001+01:00,,,,[],
`

func TestImportOfCSV(t *testing.T) {
	s := newStore(t)
	name := write(t, "past.csv", past)
	if before := s.load(name); before != 0 {
		t.Error(before)
	}
	list, topics := s.all()
	null := featurestore.Value{}
	text := featurestore.StringValue
	want := []featurestore.Event{{
		Position: featurestore.Position{Time: 1_704_067_200_000_000, Partition: history.ImportPartition}, RecordTime: 1_704_067_205_000_000,
		Values: []featurestore.Value{
			featurestore.IntValue(1), featurestore.FloatValue(.5), text("é"), featurestore.BytesValue([]byte{0, 255}), featurestore.BoolValue(true),
			featurestore.ListValue(featurestore.String, []featurestore.Value{text("a,"), text(`"b`)}),
			featurestore.ListValue(featurestore.Int64, []featurestore.Value{featurestore.IntValue(1), featurestore.IntValue(-2)}), text("no"),
		},
	}, {
		Position: featurestore.Position{Time: 1_706_745_600_000_001, Partition: history.ImportPartition, Offset: 1}, RecordTime: 1_706_745_600_000_001,
		Values: []featurestore.Value{
			featurestore.IntValue(2), featurestore.FloatValue(1), null, null, null, null,
			featurestore.ListValue(featurestore.Int64, []featurestore.Value{}), null,
		},
	}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	if topics[0] != topics[1] || topics[0][6]>>4 != 8 {
		t.Errorf("topics %v: they are one, of version 8", topics)
	}
	// The same again, by another name; and as another namespace's it would be another topic.
	if before := s.load(write(t, "again.csv", past)); before != 2 || s.count() != 2 {
		t.Errorf("%d events were there, %d are", before, s.count())
	}
	if f := opened(t, name); f.Topic("other") == f.Topic(s.namespace) || f.Topic(s.namespace) != topics[0] {
		t.Error("the topic is not of namespace and file")
	}
	// One byte more is another file.
	if before := s.load(write(t, "more.csv", past+"\n")); before != 0 || s.count() != 4 {
		t.Errorf("%d events were there, %d are", before, s.count())
	}
}

// TestImportOfAnExport brings all events but tombstones from one namespace to another.
func TestImportOfAnExport(t *testing.T) {
	s, to, dir := newStore(t), newStore(t), t.TempDir()
	list := events(30)
	for i := range list {
		list[i].Delete = false
	}
	s.keep(list, 30)
	for _, day := range s.export(dir) {
		to.load(filepath.Join(dir, "day="+day, "part-0.parquet"))
	}
	got, _ := to.all()
	for i := range got { // where they are is new
		got[i].Position, list[i].Position = featurestore.Position{Time: got[i].Time}, featurestore.Position{Time: list[i].Time}
	}
	if diff := cmp.Diff(list, got); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesInCSV(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "it is empty: the first line",
		"id\n1\n":                      `there is no column "event_time"`,
		"event_time\n":                 `there is no column "id", and the field is required`,
		"id,event_time,id\n":           `there are two columns "id"`,
		"id,event_time,x\n":            `column "x" is no field of source "events": rename it, or leave it out; its columns are event_time, record_time, id, f, s, b, ok, list, ints, f_deleted`,
		"id,event_time\n,T\n":          `row 1: column "id" has no value, and the field is required`,
		"id,event_time\n1,\n":          `row 1: column "event_time" has no value`,
		"id,event_time\n1,T\nx,T":      `row 2: column "id" is "x"; int64 as text is needed`,
		"id,event_time\n007,T":         `column "id" is "007"`,
		"id,event_time\n1,T,2\n":       `past.csv, row 1: it has 3 fields, and the first line names 2 columns`,
		"id,event_time,f\n1,T,\n2,T\n": `past.csv, row 2: it has 2 fields, and the first line names 3 columns`,
		"id,event_time,topic_id\n1,T,\n2,T,0f00\n3,T,0f010000-0000-0000-0000-000000000000": `row 3: column "topic_id" is 0f010000-0000-0000-0000-000000000000, of which history has the events`,
		"id,event_time\n1,\"T\n":                                       `row 1: `,
		"id,event_time,f\n1,T,NaN":                                     `row 1: column "f" is "NaN"; float64 as text is needed`,
		"id,event_time,f\n1,T,1e999":                                   `column "f" is "1e999"`,
		"id,event_time,ok\n1,T,yes":                                    `column "ok" is "yes"; bool as text is needed`,
		"id,event_time,b\n1,T,%":                                       `column "b" is not base64`,
		"id,event_time,s\n1,T,toolong":                                 `column "s" is part of an entity's key and has 7 bytes; it must have 1 to 5`,
		"id,event_time,s\n1,T,a\x00":                                   `column "s" holds a NUL character`,
		"id,event_time,s\n1,T,\xff":                                    `column "s" is not valid UTF-8`,
		"id,event_time,list\n1,T,a":                                    `column "list" is no JSON`,
		"id,event_time,list\n1,T,[1]":                                  `column "list" element 1 is a number; string is needed`,
		"id,event_time,ints\n1,T,\"[1,null]\"":                         `column "ints" element 2 is null`,
		"id,event_time,deleted\n1,T,true":                              `column "deleted" is true: it is a tombstone`,
		"id,event_time\n1,2024-01-01 00:00:00":                         `column "event_time" cannot be read: "2024-01-01 00:00:00" has no time zone`,
		"id,event_time\n1,1969-12-31T00:00:00Z":                        `column "event_time" is 1969-12-31T00:00:00Z, which is not between`,
		"id,event_time\n1,2200-01-01T00:00:00Z":                        "which is not between 1970 and 2200",
		"id,event_time,record_time\n1,T,2024-01-03T00:00:00Z":          "more than the source's max_age of 24h0m0s before",
		"id,event_time,record_time\n1,T,2023-12-31T23:00:00Z":          "more than the source's max_skew of 1m0s after",
		"id,event_time,f_deleted\n1,T," + strings.Repeat("x", 2e6):     `row 1: it has 20000`,
		"id,event_time,f_deleted\n1,T,\"" + strings.Repeat("x\n", 2e7): "row 1: it has more than 16 MiB: is a quote not closed?",
	} {
		name := write(t, "past.csv", strings.ReplaceAll(text, ",T", ",2024-01-01T00:00:00Z"))
		if _, err := opened(t, name).Check(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	for _, name := range []string{"a.txt", "a", "a.arrow"} {
		if _, err := opened(t, write(t, name, past)).Check(t.Context(), nil); err == nil || !strings.Contains(err.Error(), name+": the format is told by the extension: .csv or .parquet") {
			t.Error(err)
		}
	}
}

// parquetOf writes rows in JSON as Parquet.
func parquetOf(t *testing.T, rows string, fields ...arrow.Field) string {
	t.Helper()
	schema := arrow.NewSchema(fields, nil)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "past.parquet")
	w, err := files.Create(name, nil, schema)
	if err == nil {
		err = errors.Join(w.Write(batch), w.Commit())
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func column(name string, typ arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: typ, Nullable: true}
}

// TestTypesOfParquet: what loses nothing is read.
func TestTypesOfParquet(t *testing.T) {
	s := newStore(t)
	at := column("event_time", &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "Europe/Rome"})
	for _, typ := range []arrow.DataType{
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int8,
		arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint8,
	} {
		s.load(parquetOf(t, `[{"event_time": "2024-01-01T00:00:00Z", "id": 100, "f": 3}]`, at, column("id", typ), column("f", typ)))
	}
	s.load(parquetOf(t, `[{"event_time": "2024-01-01T00:00:00Z", "id": 100, "f": 3, "s": "x"}]`, at, column("id", arrow.PrimitiveTypes.Int64), column("f", arrow.PrimitiveTypes.Float32),
		column("s", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String})))
	list, _ := s.all()
	if len(list) != 9 {
		t.Fatal(len(list))
	}
	for _, e := range list {
		if e.Time != 1_704_067_200_000_000 || e.Values[0].Int() != 100 || e.Values[1].Float() != 3 {
			t.Error(e)
		}
	}
}

func TestMistakesInParquet(t *testing.T) {
	at := column("event_time", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"})
	id := column("id", arrow.PrimitiveTypes.Int64)
	const when = `"event_time": "2024-01-01T00:00:00Z"`
	for _, c := range []struct {
		rows   string
		fields []arrow.Field
		want   string
	}{
		{`[]`, []arrow.Field{column("event_time", &arrow.TimestampType{Unit: arrow.Microsecond}), id}, `column "event_time" is a timestamp without a time zone`},
		{`[]`, []arrow.Field{column("event_time", arrow.BinaryTypes.String), id}, `column "event_time" is utf8; a timestamp with a time zone is needed`},
		{`[]`, []arrow.Field{at, column("id", arrow.PrimitiveTypes.Float64)}, `column "id" is float64; the field is int64`},
		{`[]`, []arrow.Field{at, id, column("s", arrow.BinaryTypes.Binary)}, `column "s" is binary; the field is string`},
		{`[]`, []arrow.Field{at, id, column("list", arrow.BinaryTypes.String)}, `column "list" is utf8; the field is list<string>`},
		{`[{` + when + `, "id": 1}, {"id": 1}]`, []arrow.Field{at, id}, `row 2: column "event_time" has no value`},
		{`[{` + when + `}]`, []arrow.Field{at, id}, `row 1: column "id" has no value, and the field is required`},
		{`[{` + when + `, "id": 9223372036854775808}]`, []arrow.Field{at, column("id", arrow.PrimitiveTypes.Uint64)}, `row 1: column "id" is 9223372036854775808, greater than any int64`},
		{`[{` + when + `, "id": 1, "f": 9007199254740993}]`, []arrow.Field{at, id, column("f", arrow.PrimitiveTypes.Int64)}, `row 1: column "f" is 9007199254740993, which no float64 has exactly`},
		{`[{` + when + `, "id": 1, "s": "a\u0000"}]`, []arrow.Field{at, id, column("s", arrow.BinaryTypes.String)}, `row 1: column "s" holds a NUL character`},
		{`[{` + when + `, "id": 1, "list": ["a\u0000"]}]`, []arrow.Field{at, id, column("list", arrow.ListOf(arrow.BinaryTypes.String))}, `row 1: column "list" element 1 holds a NUL character`},
		{`[{` + when + `, "id": 1, "list": [null]}]`, []arrow.Field{at, id, column("list", arrow.ListOf(arrow.BinaryTypes.String))}, `row 1: column "list" has null as element 1`},
		{`[{` + when + `, "id": 1, "s": ""}]`, []arrow.Field{at, id, column("s", arrow.BinaryTypes.String)}, `row 1: column "s" is part of an entity's key and has 0 bytes`},
		{`[{` + when + `, "id": 1}, {` + when + `, "id": 1, "topic_id": "0f010000000000000000000000000000"}]`, []arrow.Field{at, id, column("topic_id", arrow.BinaryTypes.String)}, `row 2: column "topic_id" is 0f010000000000000000000000000000, of which`},
		{`[{` + when + `, "id": 1, "deleted": true}]`, []arrow.Field{at, id, column("deleted", arrow.FixedWidthTypes.Boolean)}, `row 1: column "deleted" is true`},
	} {
		name := parquetOf(t, c.rows, c.fields...)
		if _, err := opened(t, name).Check(t.Context(), nil); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %q", c.rows, err, c.want)
		}
	}
}
