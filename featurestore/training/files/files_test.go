package files_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/featurestore/training/files"
	"github.com/onehop/onehop/featurestore/training/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	utc   = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	types = []arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "event_time", Type: utc, Nullable: true},
		{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "b", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "naive", Type: &arrow.TimestampType{Unit: arrow.Millisecond}, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "kind", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, Nullable: true},
	}
	full = `{"id": -7, "event_time": "2026-01-01T12:00:00.000001Z", "x": 0.1, "ok": true, "s": "a, \"b\"\nc", "b": "AP8=", "list": ["a", "é"], "naive": "2026-01-01T12:00:00.5", "day": "2026-01-02", "kind": "k"}`
	null = `{"id": null, "event_time": null, "x": null, "ok": null, "s": null, "b": null, "list": null, "naive": null, "day": null, "kind": null}`
)

func batchOf(t *testing.T, schema *arrow.Schema, rows ...string) arrow.RecordBatch {
	t.Helper()
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader("["+strings.Join(rows, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(batch.Release)
	return batch
}

// write writes batches to a new file of an extension.
func write(t *testing.T, extension string, schema *arrow.Schema, batches ...arrow.RecordBatch) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "table"+extension)
	w, err := files.Create(name, nil, schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range batches {
		if err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return name
}

// read reads a file: its schema and its rows as JSON.
func read(name string, typed map[string]arrow.DataType) (schema string, rows []string, err error) {
	r, err := files.Open(context.Background(), name, strings.NewReader(""), typed)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var fields strings.Builder
	for _, f := range r.Schema().Fields() {
		fields.WriteString(f.Name + " " + f.Type.String() + "\n")
	}
	for r.Next() {
		if err := table.Check(r.Schema(), r.RecordBatch()); err != nil { // as whoever takes a spine does
			return "", nil, fmt.Errorf("%s: %w", name, err)
		}
		text, err := r.RecordBatch().MarshalJSON()
		if err != nil {
			return "", nil, err
		}
		for line := range strings.Lines(strings.Trim(string(text), "[]")) {
			rows = append(rows, strings.Trim(line, ",\n"))
		}
	}
	return fields.String(), rows, r.Err()
}

func shown(t *testing.T, schema *arrow.Schema, batches ...arrow.RecordBatch) (text string, rows []string) {
	t.Helper()
	text, rows, err := read(write(t, ".arrow", schema, batches...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return text, rows
}

func TestRoundTrips(t *testing.T) {
	schema := arrow.NewSchema(types, nil)
	batches := []arrow.RecordBatch{batchOf(t, schema, full, null), batchOf(t, schema, full)}
	wantSchema, wantRows := shown(t, schema, batches...)
	if len(wantRows) != 3 || !strings.Contains(wantRows[0], `"list":["a","é"]`) {
		t.Fatal(wantRows)
	}
	for _, extension := range []string{".parquet", ".feather", ".arrows", ".PARQUET"} {
		gotSchema, rows, err := read(write(t, extension, schema, batches...), nil)
		// Parquet calls the elements of lists so, and shows them as the schema that it keeps.
		gotSchema = strings.ReplaceAll(gotSchema, "list<element: utf8", "list<item: utf8")
		if diff := cmp.Diff(wantSchema, gotSchema) + cmp.Diff(wantRows, rows); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", extension, err, diff)
		}
	}
	for _, extension := range []string{".parquet", ".arrow", ".arrows", ".csv"} { // none at all
		gotSchema, rows, err := read(write(t, extension, schema), map[string]arrow.DataType{"id": types[0].Type})
		if err != nil || len(rows) != 0 || !strings.HasPrefix(gotSchema, "id int64\nevent_time") {
			t.Errorf("%s: %v, %s, %v", extension, err, gotSchema, rows)
		}
	}
}

// TestColumnsOfAnyTypeBecomeCSV: what the library does not write is text, and a column without
// a type is empty.
func TestColumnsOfAnyTypeBecomeCSV(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.FixedWidthTypes.Time64us},
		{Name: "b", Type: arrow.FixedWidthTypes.Duration_ms},
		{Name: "c", Type: arrow.Null},
		{Name: "d", Type: arrow.BinaryTypes.StringView},
		{Name: "e", Type: arrow.FixedWidthTypes.Time32s},
	}, nil)
	batch := batchOf(t, schema, `{"a": "12:00:01.5", "b": "7ms", "c": null, "d": "x", "e": "12:00:01"}`)
	if err := table.Check(schema, batch); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(write(t, ".csv", schema, batch))
	if err != nil || !strings.HasPrefix(string(text), "a,b,c,d,e\n12:00:01.5") || !strings.HasSuffix(string(text), ",,x,12:00:01\n") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestCSV(t *testing.T) {
	schema := arrow.NewSchema(types, nil)
	name := write(t, ".csv", schema, batchOf(t, schema, full, null))
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := `id,event_time,x,ok,s,b,list,naive,day,kind
-7,2026-01-01T12:00:00.000001Z,0.1,true,"a, ""b""
c",AP8=,"[""a"",""é""]",2026-01-01T12:00:00.5,2026-01-02,k
,,,,,,,,,
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	gotSchema, rows, err := read(name, map[string]arrow.DataType{"event_time": utc, "id": types[0].Type, "b": types[5].Type})
	if err != nil || gotSchema != "id int64\nevent_time timestamp[us, tz=UTC]\nx float64\nok bool\ns utf8\nb binary\nlist utf8\nnaive utf8\nday utf8\nkind utf8\n" {
		t.Error(err, gotSchema)
	}
	if len(rows) != 2 || !strings.Contains(rows[0], `"b":"AP8="`) || !strings.Contains(rows[0], `"event_time":"2026-01-01T12:00:00.000001Z"`) ||
		!strings.Contains(rows[0], `"s":"a, \"b\"\nc"`) || strings.Count(rows[1], "null") != len(types) {
		t.Error(rows)
	}
}

// TestTypesOfCSV: a column has the narrowest type that loses nothing, found from all rows.
func TestTypesOfCSV(t *testing.T) {
	many := strings.Repeat("1,", 20_000)
	for cells, want := range map[string]string{
		"1,-2,,9223372036854775807": "int64", "1,2.5,,-1e3": "float64", many + "x": "utf8", many + "0.5": "float64", many: "int64",
		"007,1": "utf8", "+1": "utf8", "00.5": "utf8", "-0": "float64", "9223372036854775808": "utf8", "0.5,9007199254740993": "utf8",
		"true,false,": "bool", "true,1": "utf8", "1,true": "utf8", "True": "utf8", "NaN,-inf,1": "float64", "nan": "utf8", "0x10": "utf8", "1_000": "utf8", "1-2": "utf8",
		"2026-01-01": "utf8", ",": "utf8", "": "utf8", "-": "utf8", ".": "utf8", "e": "utf8",
	} {
		name := filepath.Join(t.TempDir(), "a.csv")
		lines := "c,d\n" + strings.ReplaceAll(cells, ",", ",0\n") + ",0\n"
		if err := os.WriteFile(name, []byte("\ufeff"+lines), 0o600); err != nil {
			t.Fatal(err)
		}
		schema, rows, err := read(name, nil)
		if err != nil || schema != "c "+want+"\nd int64\n" || len(rows) != strings.Count(cells, ",")+1 {
			t.Errorf("%.40s: %v, %q, %d rows", cells, err, schema, len(rows))
		}
	}
}

func TestMistakesInCSV(t *testing.T) {
	typed := map[string]arrow.DataType{"id": arrow.PrimitiveTypes.Int64, "event_time": utc, "hash": arrow.BinaryTypes.Binary}
	for text, want := range map[string]string{
		"":                                 "it is empty",
		"id,a\n1,2\nx,3\n":                 `row 2, column "id": "x" is not an integer of 64 bits`,
		"id\n1.5\n":                        `row 1, column "id": "1.5" is not`,
		"id\n9223372036854775808\n":        `row 1, column "id"`,
		"event_time\n2026-01-01 12:00\n":   `row 1, column "event_time": "2026-01-01 12:00" is no time`,
		"event_time\n2026-01-01\n":         `row 1, column "event_time": "2026-01-01" has no time zone`,
		"hash\n%%\n":                       `row 1, column "hash": "%%" is not base64`,
		"a,b\n1,2\n1\n":                    "record on line 3: wrong number of fields",
		"a,b\n1,\"2\n":                     "quote",
		"a\n\xff\n":                        `row 1, column "a": it is not UTF-8`,
		"id\n" + strings.Repeat("x", 1000): `xxx…" is not an integer`,
	} {
		name := filepath.Join(t.TempDir(), "labels.csv")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(name, typed); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestStandardInputAndOutput(t *testing.T) {
	r, err := files.Open(t.Context(), files.Std, strings.NewReader("a,b\n1,x\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var out bytes.Buffer
	w, err := files.Create(files.Std, &out, r.Schema())
	if err != nil {
		t.Fatal(err)
	}
	for r.Next() {
		if err := w.Write(r.RecordBatch()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Err(), w.Commit()); err != nil || out.String() != "a,b\n1,x\n" || r.Rows() != 1 {
		t.Errorf("%v, %q, %d rows", err, out.String(), r.Rows())
	}
	if _, err := files.Open(t.Context(), files.Std, strings.NewReader(""), nil); err == nil || !strings.Contains(err.Error(), "reading the standard input: it is empty") {
		t.Error(err)
	}
}

// TestDamagedFiles: whatever is cut off or changed, the answer is an error that names the
// file or, of changes that nothing could find, other values; never a panic and never fewer
// rows.
func TestDamagedFiles(t *testing.T) {
	schema := arrow.NewSchema(types, nil)
	rows := slices.Repeat([]string{full, null}, 500)
	for _, extension := range []string{".parquet", ".arrow", ".arrows"} {
		batch := batchOf(t, schema, rows...)
		text, err := os.ReadFile(write(t, extension, schema, batch, batch))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "damaged"+extension)
		check := func(what string, damaged []byte, must bool) {
			if err := os.WriteFile(name, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			_, got, err := read(name, nil)
			if err == nil && (must || len(got) != 2*len(rows)) || err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s of %d bytes: %d rows, %v", extension, what, len(text), len(got), err)
			}
		}
		for i := range 100 {
			at := len(text) * i / 100
			check(fmt.Sprint("cut off at ", at), text[:at], true)
			changed := bytes.Clone(text)
			changed[at] ^= 0x55
			check(fmt.Sprint("changed at ", at), changed, false)
		}
		check("cut off by 1", text[:len(text)-1], true)
		check("cut off by 8", text[:len(text)-8], true)
	}
	if _, _, err := read(filepath.Join(t.TempDir(), "none.parquet"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a.txt", "a", "a.csv.gz", "a.json"} {
		if err := files.Check(name); err == nil || !strings.Contains(err.Error(), name+": the format is told by the extension") {
			t.Error(name, err)
		}
	}
	if err := files.Check("some.dir/a.Parquet"); err != nil {
		t.Error(err)
	}
}

// TestNothingIsLeftBehind: a file that is not committed is not there, and what was there is.
func TestNothingIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.parquet")
	if err := os.WriteFile(name, []byte("before"), 0o640); err != nil { //nolint:gosec // the mode is what is tested
		t.Fatal(err)
	}
	schema := arrow.NewSchema(types, nil)
	begin := func() *files.Writer {
		w, err := files.Create(name, nil, schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(batchOf(t, schema, full)); err != nil {
			t.Fatal(err)
		}
		return w
	}
	there := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%v, %v", names, err)
		}
	}
	w := begin()
	w.Abort()
	w.Abort()
	there("a.parquet")
	if text, err := os.ReadFile(name); err != nil || string(text) != "before" {
		t.Errorf("%q, %v", text, err)
	}
	w = begin()
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	there("a.parquet")
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(info.Mode(), err)
	}
	if _, rows, err := read(name, nil); err != nil || len(rows) != 1 {
		t.Error(rows, err)
	}
	// A directory took the name meanwhile.
	w = begin()
	if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o700), os.WriteFile(filepath.Join(name, "x"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err == nil || !strings.Contains(err.Error(), name) {
		t.Error(err)
	}
	there("a.parquet")
	if _, err := files.Create(filepath.Join(dir, "none", "a.csv"), nil, schema); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestSpool(t *testing.T) {
	schema := arrow.NewSchema(types, nil)
	batch := batchOf(t, schema, full, null)
	_, want := shown(t, schema, batch, batch)
	from, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch, batch})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Release()
	told := 0
	r, err := files.Spool(from, func(rows int) { told = rows })
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for r.Next() {
		text, err := r.RecordBatch().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(strings.Trim(string(text), "[]")) {
			rows = append(rows, strings.Trim(line, ",\n"))
		}
	}
	if diff := cmp.Diff(want, rows); diff != "" || r.Err() != nil || r.Rows() != 4 || told != 4 {
		t.Error(diff, r.Err(), r.Rows(), told)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	failing := array.ReaderFromIter(schema, func(yield func(arrow.RecordBatch, error) bool) { yield(nil, broken) })
	defer failing.Release()
	if _, err := files.Spool(failing, nil); !errors.Is(err, broken) {
		t.Error(err)
	}
}
