package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// loosened are two versions of a source; the second, in force a day after the usual time,
// takes what the first refuses: an event without n.
func loosened() []Version {
	later := testSource()
	later.Fields[1].Required = false
	return []Version{{Source: testSource()}, {From: recordMillis*1000 + day, Source: later}}
}

const (
	day   = int64(24 * time.Hour / time.Microsecond)
	no    = `{"user":"ann","at":1700000000000}`
	first = "2023-11-14T22:13:20Z" // recordMillis
)

func retried(value string, after int64, headers ...string) *kgo.Record {
	r := record(value, after)
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

func TestRetriedRecordIsDecidedByNewDefinitionsAndOldTime(t *testing.T) {
	d := NewDecoder(loosened(), nil)
	if _, err := one(t, d, record(no, 0)); KindOf(err) != Missing {
		t.Fatalf("the record as it was first written: %v", err)
	}
	if _, err := one(t, d, record(no, 2*day)); KindOf(err) != TooOld {
		t.Fatalf("the same event in a record of two days later: %v", err)
	}
	e, err := one(t, d, retried(no, 2*day, headerFirstTime, first))
	if err != nil {
		t.Fatal(err)
	}
	if e.Time != recordMillis*1000 || e.RecordTime != recordMillis*1000+2*day {
		t.Errorf("event time %s, available from %s", featurestore.FormatTime(e.Time), featurestore.FormatTime(e.RecordTime))
	}
}

func TestRetriedRecordKeepsTheTimeThatIsItsRecords(t *testing.T) {
	source := testSource()
	source.TimeField, source.TimeUnit, source.TimeRecord, source.Deletes = "", "", true, true
	source.Fields = []featurestore.Field{{Name: "user", Type: featurestore.String, Key: true, Required: true}}
	d := NewDecoder([]Version{{Source: source}}, nil)
	for name, r := range map[string]*kgo.Record{"event": retried("{}", day, headerFirstTime, first), "tombstone": retried("", day, headerFirstTime, first)} {
		r.Key = []byte("ann")
		if name == "tombstone" {
			r.Value = nil
		}
		e, err := one(t, d, r)
		if err != nil || e.Time != recordMillis*1000 || e.RecordTime != recordMillis*1000+day || e.Delete != (r.Value == nil) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func TestFirstTimestampIsChecked(t *testing.T) {
	d := NewDecoder(loosened(), nil)
	for text, want := range map[string]string{
		"yesterday":            "it is Onehop's own, and a time",
		"2023-11-15T22:14:21Z": "after the record's timestamp", // a day and MaxSkew later would do
	} {
		_, err := one(t, d, retried(good, 0, headerFirstTime, text))
		if KindOf(err) != BadHeader || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestLetterIsReadAsItWasWritten(t *testing.T) {
	whole := &kgo.Record{
		Topic: "shop", Partition: 3, Offset: 9, Timestamp: time.UnixMilli(recordMillis).UTC(), Key: []byte{}, Value: []byte("x"),
		Headers: []kgo.RecordHeader{{Key: headerReason, Value: []byte("not ours")}, {Key: "h"}},
	}
	for name, change := range map[string]func(r *kgo.Record) (cut string){
		"as it is":    func(*kgo.Record) string { return "" },
		"without key": func(r *kgo.Record) string { r.Key = nil; return "" },
		"tombstone":   func(r *kgo.Record) string { r.Value = nil; return "" },
		"long value": func(r *kgo.Record) string {
			r.Value = make([]byte, maxLetterValue+1)
			return "the value had 524289 bytes"
		},
		"long key": func(r *kgo.Record) string { r.Key = make([]byte, maxLetterKey+1); return "the key had" },
		"long header": func(r *kgo.Record) string {
			r.Headers[1].Value = make([]byte, maxLetterHeaders)
			return "not all headers"
		},
		"never a header": func(r *kgo.Record) string { r.Headers = nil; return "" },
	} {
		r := *whole
		r.Headers = append([]kgo.RecordHeader(nil), whole.Headers...)
		wantCut := change(&r)
		letter, err := parseLetter(deadLetter("shop.dead", featurestore.TopicID{1}, Rejection{Record: &r, Reason: errNUL}))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (letter.Cut != "") != (wantCut != "") || !strings.HasPrefix(letter.Cut, wantCut) {
			t.Errorf("%s: cut: %q, want %q", name, letter.Cut, wantCut)
		}
		if letter.Reason != errNUL.Error() || !strings.HasSuffix(letter.ID, "/3/9") {
			t.Errorf("%s: %+v", name, letter)
		}
		if wantCut != "" {
			continue
		}
		got := letter.Record
		if len(r.Headers) == 0 && len(got.Headers) == 0 {
			got.Headers = r.Headers
		}
		if diff := cmp.Diff(r.Headers, got.Headers); diff != "" || got.Timestamp != r.Timestamp ||
			(got.Key == nil) != (r.Key == nil) || (got.Value == nil) != (r.Value == nil) || string(got.Value) != string(r.Value) {
			t.Errorf("%s: %+v, want %+v\n%s", name, got, r, diff)
		}
	}
	if _, err := parseLetter(whole); err == nil {
		t.Error("a record of somebody else is taken for a letter")
	}
}

func TestRecordThatIsRetriedTwiceKeepsItsFirstTime(t *testing.T) {
	source := testSource()
	source.Topic = "shop"
	letter := Letter{ID: "t/3/7", Partition: 3, Time: time.UnixMilli(recordMillis).UTC(), Record: record(no, 0)}
	once := letter.Again(source, time.UnixMicro(recordMillis*1000+day))
	letter = Letter{ID: "t/3/8", Partition: 3, Time: once.Timestamp, Record: once}
	twice := letter.Again(source, time.UnixMicro(recordMillis*1000+2*day))
	if got := string(header(twice, headerFirstTime)); got != first || len(twice.Headers) != 2 || string(header(twice, headerRetryOf)) != "t/3/8" {
		t.Errorf("%s, headers %v", got, twice.Headers)
	}
}
