package served_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/served"
	"github.com/onehop/onehop/featurestore/stream"
)

const now = 1_800_000_000_000_000

var texts = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "base64:x", "a=b", "\x00", "é|\\", `"`}))

func drawRecord(t *rapid.T) *served.Record {
	r := &served.Record{
		Kind: rapid.SampledFrom([]string{served.Service, served.Model}).Draw(t, "kind"), Name: "ranker", Version: rapid.Int64().Draw(t, "version"),
		Definitions: rapid.Int64().Draw(t, "definitions"), RequestID: "id", Row: rapid.Int64Min(0).Draw(t, "row"), ReadTime: now,
	}
	if rapid.Bool().Draw(t, "scored") {
		score := float64(rapid.Float32().Draw(t, "score"))
		r.Score = &score
	}
	for range rapid.IntRange(0, 3).Draw(t, "entities") {
		r.Entities = append(r.Entities, served.Entity{Name: "user", Key: []byte(texts.Draw(t, "key"))})
	}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		v := drawValue(t)
		r.Request = append(r.Request, served.Field{Name: "hour", JSON: served.ValueJSON(&v)})
	}
	for range rapid.IntRange(0, 3).Draw(t, "features") {
		v := drawValue(t)
		r.Features = append(r.Features, served.Feature{
			Name: "v.f", Status: featurestore.Status(rapid.IntRange(1, featurestore.Statuses-1).Draw(t, "status")),
			EventTime: rapid.Int64().Draw(t, "event time"), JSON: served.ValueJSON(&v),
		})
	}
	for range rapid.IntRange(0, 3).Draw(t, "rows") {
		row := served.Row{View: "v", Generation: rapid.IntRange(1, 99).Draw(t, "generation")}
		for range rapid.IntRange(0, 4).Draw(t, "marks") {
			row.Marks = append(row.Marks, served.Mark{
				Topic: featurestore.TopicID{byte(rapid.IntRange(0, 2).Draw(t, "topic"))}, Partition: rapid.Int32().Draw(t, "partition"), Next: rapid.Int64().Draw(t, "next"),
			})
		}
		served.SortMarks(row.Marks)
		r.Rows = append(r.Rows, row)
	}
	return r
}

func drawValue(t *rapid.T) featurestore.Value {
	scalar := func(kind int) featurestore.Value {
		switch kind {
		case 0:
			return featurestore.IntValue(rapid.Int64().Draw(t, "int"))
		case 1:
			return featurestore.FloatValue(rapid.Float64().Draw(t, "float"))
		case 2:
			return featurestore.BoolValue(rapid.Bool().Draw(t, "bool"))
		case 3:
			return featurestore.StringValue(texts.Draw(t, "text"))
		default:
			return featurestore.BytesValue(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		}
	}
	kind := rapid.IntRange(0, 4).Draw(t, "type")
	switch rapid.IntRange(0, 4).Draw(t, "shape") {
	case 0:
		return featurestore.Value{}
	case 1:
		list := []featurestore.Value{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			list = append(list, scalar(kind))
		}
		return featurestore.ListValue(scalar(kind).Type, list)
	default:
		return scalar(kind)
	}
}

// TestRecordsComeBack: a record that ingest decodes as an event of the log is the one that was
// encoded, whatever is in it.
func TestRecordsComeBack(t *testing.T) {
	source := served.Source("shop", time.Hour)
	decoder := stream.NewDecoder([]stream.Version{{Source: &source}}, nil)
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		value, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		events, err := decoder.Decode(t.Context(), &kgo.Record{Value: value, Timestamp: time.UnixMicro(now)}, nil)
		if err != nil {
			t.Fatalf("ingest refuses %s: %v", value, err)
		}
		got, err := served.Decode(&events[0])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestValuesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawValue(t)
		typ := v.Type
		if v.IsNull() {
			typ = featurestore.Int64
		}
		got, err := served.Value(served.ValueJSON(&v), typ)
		if err != nil || !got.Equal(v) {
			t.Fatalf("%+v came back as %+v: %v", v, got, err)
		}
	})
}

// TestBounds: a record that is too large, and scores that JSON cannot hold.
func TestBounds(t *testing.T) {
	r := &served.Record{Kind: served.Model, Name: "ranker", RequestID: strings.Repeat("x", served.MaxBytes)}
	if _, err := r.Encode(); err == nil || !strings.Contains(err.Error(), "at most 1048576 are allowed") {
		t.Errorf("a large record: %v", err)
	}
	nan := math.NaN()
	r = &served.Record{Kind: served.Model, Score: &nan}
	if value, err := r.Encode(); err != nil || strings.Contains(string(value), "score") {
		t.Errorf("a score that is none: %s, %v", value, err)
	}
}

// FuzzDecode: an event of the log that somebody else wrote gives an error, at worst.
func FuzzDecode(f *testing.F) {
	f.Add("user=7", "v@1 00 0:1", "PRESENT", "1")
	f.Add("user=base64:!", "v 0:1", "NO", "[")
	f.Fuzz(func(_ *testing.T, entity, row, status, value string) {
		source := served.Source("shop", time.Hour)
		e := &featurestore.Event{Values: make([]featurestore.Value, len(source.Fields))}
		texts := map[string]string{"entities": entity, "rows": row, "statuses": status, "values": value, "features": "v.f"}
		for i, field := range source.Fields {
			if text, ok := texts[field.Name]; ok {
				e.Values[i] = featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue(text)})
			}
			if field.Name == "event_times" {
				e.Values[i] = featurestore.ListValue(featurestore.Int64, []featurestore.Value{featurestore.IntValue(1)})
			}
		}
		r, err := served.Decode(e)
		if err != nil {
			return
		}
		for _, f := range r.Features {
			for _, typ := range []featurestore.Type{featurestore.Int64, featurestore.String, featurestore.ListOf(featurestore.Float64)} {
				_, _ = served.Value(f.JSON, typ)
			}
		}
	})
}
