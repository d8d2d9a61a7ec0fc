package stream

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func testSource() *featurestore.Source {
	return &featurestore.Source{
		Name: "ratings", TimeField: "at", TimeUnit: featurestore.Milliseconds,
		MaxAge: time.Hour, MaxSkew: time.Minute,
		Fields: []featurestore.Field{
			{Name: "user", Type: featurestore.String, Required: true, KeyBytes: 8},
			{Name: "n", Type: featurestore.Int64, Required: true},
			{Name: "price", Type: featurestore.Float64},
			{Name: "raw", Type: featurestore.Bytes},
			{Name: "ok", Type: featurestore.Bool},
			{Name: "tags", Type: featurestore.ListOf(featurestore.String)},
		},
	}
}

const (
	recordMillis = 1_700_000_000_000
	good         = `{"user":"ann","n":3,"price":2.5,"raw":"AAE=","ok":true,"tags":["a","b"],"at":1700000000000,"more":{"x":[1]}}`
)

// record is a record with a value, stamped so many µs after the usual time.
func record(value string, after int64) *kgo.Record {
	return &kgo.Record{Value: []byte(value), Timestamp: time.UnixMicro(recordMillis*1000 + after), Partition: 3, Offset: 7}
}

// one decodes a record that holds one event.
func one(t *testing.T, d *Decoder, r *kgo.Record) (featurestore.Event, error) {
	t.Helper()
	events, err := d.Decode(t.Context(), r, nil)
	if err != nil {
		return featurestore.Event{}, err
	}
	if len(events) != 1 {
		t.Fatalf("%d events in the record", len(events))
	}
	return events[0], nil
}

func decode(t *testing.T, value string) (featurestore.Event, error) {
	t.Helper()
	return one(t, NewDecoder([]Version{{Source: testSource()}}, nil), record(value, 0))
}

func TestDecode(t *testing.T) {
	e, err := decode(t, good)
	if err != nil {
		t.Fatal(err)
	}
	want := []featurestore.Value{
		featurestore.StringValue("ann"), featurestore.IntValue(3), featurestore.FloatValue(2.5),
		featurestore.BytesValue([]byte{0, 1}), featurestore.BoolValue(true),
		featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue("a"), featurestore.StringValue("b")}),
	}
	for i, v := range want {
		if !e.Values[i].Equal(v) {
			t.Errorf("field %d: got %s, want %s", i, e.Values[i], v)
		}
	}
	if e.Time != recordMillis*1000 {
		t.Errorf("event time %d", e.Time)
	}
}

func TestBadRecordsSayWhy(t *testing.T) {
	for _, c := range []struct{ name, record, want string }{
		{"empty", ``, "not valid JSON"},
		{"truncated", good[:40], "not valid JSON"},
		{"not an object", `[1]`, "not a JSON object"},
		{"two objects", good + good, "after its JSON object"},
		{"a name twice", strings.Replace(good, `"ok"`, `"n":4,"ok"`, 1), "duplicate"},
		{"oversized", `{"user":"` + strings.Repeat("x", featurestore.MaxEventBytes) + `"}`, "at most"},
		{"not UTF-8", strings.Replace(good, "ann", "a\xffn", 1), "UTF-8"},
		{"key missing", strings.Replace(good, `"user"`, `"usr"`, 1), `required field "user"`},
		{"key null", strings.Replace(good, `"ann"`, `null`, 1), `required field "user"`},
		{"key empty", strings.Replace(good, `"ann"`, `""`, 1), `field "user" is part of`},
		{"key too long", strings.Replace(good, `ann`, `annabella`, 1), `field "user" is part of`},
		{"NUL", strings.Replace(good, `"a"`, "\"\\u0000\"", 1), "NUL"},
		{"int with a fraction", strings.Replace(good, `"n":3`, `"n":3.5`, 1), `field "n" is 3.5`},
		{"int out of range", strings.Replace(good, `"n":3`, `"n":9223372036854775808`, 1), `field "n"`},
		{"long int", strings.Replace(good, `"n":3`, `"n":`+strings.Repeat("9", 1000), 1), `field "n" is ` + strings.Repeat("9", 60) + `…; an int64 is needed`},
		{"number in quotes", strings.Replace(good, `"n":3`, `"n":"3"`, 1), `field "n" is a string`},
		{"NaN", strings.Replace(good, `2.5`, `NaN`, 1), "not valid JSON"},
		{"infinite", strings.Replace(good, `2.5`, `1e999`, 1), `field "price"`},
		{"not base64", strings.Replace(good, `AAE=`, `*`, 1), "base64"},
		{"null in a list", strings.Replace(good, `"b"`, `null`, 1), "element 2 is null"},
		{"wrong type in a list", strings.Replace(good, `"b"`, `7`, 1), "element 2 is a number"},
		{"time missing", strings.Replace(good, `"at"`, `"when"`, 1), `"at", the event time, is missing`},
		{"time null", strings.Replace(good, `1700000000000`, `null`, 1), "event time"},
		{"time negative", strings.Replace(good, `1700000000000`, `-5`, 1), "no time after 1970"},
		{"time in seconds", strings.Replace(good, `1700000000000`, `1700000000`, 1), "before the record's timestamp"},
		{"time in the future", strings.Replace(good, `1700000000000`, `1700000061000`, 1), "after the record's timestamp"},
		{"time as text", strings.Replace(good, `1700000000000`, `"1700000000000"`, 1), "whole number"},
	} {
		_, err := decode(t, c.record)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want something with %q", c.name, err, c.want)
		}
	}
}

// TestVersionInForce decodes by the definition in force at the record's timestamp,
// into the fields of the newest.
func TestVersionInForce(t *testing.T) {
	before := testSource()
	before.Fields = before.Fields[:2]
	after := testSource()
	after.Fields = append([]featurestore.Field{{Name: "added", Type: featurestore.Int64, Required: true}}, after.Fields...)
	d := NewDecoder([]Version{{From: 0, Source: before}, {From: recordMillis * 1000, Source: after}}, nil)
	old, err := one(t, d, record(good, -1))
	if err != nil {
		t.Fatalf("a record from before the new version: %v", err)
	}
	if !old.Values[0].IsNull() || old.Values[2].Int() != 3 || !old.Values[3].IsNull() {
		t.Errorf("fields of the old version in the layout of the new: %v", old.Values)
	}
	if _, err := one(t, d, record(good, 0)); err == nil || !strings.Contains(err.Error(), `"added"`) {
		t.Errorf("a record from after the new version, without the added field: %v", err)
	}
}

// FuzzDecode feeds the decoder anything; it may refuse, not panic.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"user":"ann","n":1e3,"tags":[[]],"at":"2026"}`))
	d := NewDecoder([]Version{{Source: testSource()}}, nil)
	f.Fuzz(func(t *testing.T, value []byte) {
		_, _ = d.Decode(t.Context(), record(string(value), 0), nil)
	})
}

func BenchmarkDecode(b *testing.B) {
	d := NewDecoder([]Version{{Source: testSource()}}, nil)
	r, events := record(good, 0), make([]featurestore.Event, 0, 1)
	b.SetBytes(int64(len(good)))
	for b.Loop() {
		if _, err := d.Decode(b.Context(), r, events); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLettersFitAnyTopic makes the letter of the worst record: it must fit a topic with
// the broker's usual limit, or the record would block its partition.
func TestLettersFitAnyTopic(t *testing.T) {
	big := []byte(strings.Repeat("x", featurestore.MaxEventBytes))
	record := &kgo.Record{Topic: "ratings", Partition: 3, Offset: 7, Key: big, Value: big, Headers: []kgo.RecordHeader{{Key: "small", Value: []byte("kept")}, {Key: "big", Value: big}}}
	letter := deadLetter("ratings.dead", featurestore.TopicID{1}, Rejection{Record: record, Reason: errors.New(string(big))})
	size, headers := len(letter.Key)+len(letter.Value), map[string]string{}
	for _, h := range letter.Headers {
		size += len(h.Key) + len(h.Value)
		headers[h.Key] = string(h.Value)
	}
	if size > 900_000 {
		t.Errorf("the letter has %d bytes", size)
	}
	if headers["small"] != "kept" || headers["onehop-offset"] != "7" || headers["onehop-truncated-from"] != "1048576" || headers["onehop-headers-dropped"] != "true" {
		t.Errorf("headers: small %q, offset %q, truncated %q, dropped %q", headers["small"], headers["onehop-offset"], headers["onehop-truncated-from"], headers["onehop-headers-dropped"])
	}
}
