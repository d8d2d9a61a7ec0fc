package stream

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/featurestore"
)

// orderSource explodes the items of an order.
func orderSource() *featurestore.Source {
	unknown := featurestore.StringValue("unknown")
	return &featurestore.Source{
		Name: "items", Format: featurestore.JSON, TimePath: "meta.at", TimeUnit: featurestore.Milliseconds,
		MaxAge: time.Hour, MaxSkew: time.Minute, Explode: "order.items",
		Fields: []featurestore.Field{
			{Name: "sku", Type: featurestore.String, Path: "order.items.sku", Required: true},
			{Name: "cents", Type: featurestore.Int64, Path: "order.items.price.cents"},
			{Name: "buyer", Type: featurestore.Int64, Key: true, Required: true},
			{Name: "city", Type: featurestore.String, Path: "order.to.city", Default: &unknown},
			{Name: "tenant", Type: featurestore.String, Header: "tenant"},
			{Name: "retry", Type: featurestore.Bool, Header: "retry"},
			{Name: "weight", Type: featurestore.Float64, Header: "weight"},
		},
	}
}

const order = `{"order":{"items":[{"sku":"tea","price":{"cents":250}},{"sku":"cup","price":null}],"to":{"city":"Ulm"}},"meta":{"at":1700000000000}}`

func orderRecord(value string) *kgo.Record {
	r := record(value, 0)
	r.Key = []byte("42")
	r.Headers = []kgo.RecordHeader{
		{Key: "tenant", Value: []byte("old")},
		{Key: "tenant", Value: []byte("blue")},
		{Key: "retry", Value: []byte("true")},
		{Key: "weight", Value: []byte("2.5")},
	}
	return r
}

// show writes events as text, to compare them with.
func show(events []featurestore.Event) string {
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%d/%d/%d@%d %v", e.Partition, e.Offset, e.Index, e.Time-recordMillis*1000, e.Values))
	}
	return strings.Join(lines, "\n")
}

func TestFieldsFromEverywhere(t *testing.T) {
	d := NewDecoder([]Version{{Source: orderSource()}}, nil)
	for _, c := range []struct{ name, value, want string }{
		{"two elements", order, "3/7/0@0 [\"tea\" 250 42 \"Ulm\" \"blue\" true 2.5]\n3/7/1@0 [\"cup\" null 42 \"Ulm\" \"blue\" true 2.5]"},
		{"the shared after the elements, a default", `{"order":{"items":[{"sku":"tea"}]},"meta":{"at":1700000000001}}`, `3/7/0@1000 ["tea" null 42 "unknown" "blue" true 2.5]`},
		{"the shared before", `{"meta":{"at":1700000000000},"order":{"to":{"city":null},"items":[{"sku":"tea"}]}}`, `3/7/0@0 ["tea" null 42 "unknown" "blue" true 2.5]`},
		{"no element", `{"order":{"items":[]},"meta":{"at":1700000000000}}`, ""},
		{"null for the array", `{"order":{"items":null},"meta":{"at":1700000000000}}`, ""},
		{"no array", `{"order":{}}`, ""},
		{"null above the array", `{"order":null}`, ""},
	} {
		events, err := d.Decode(t.Context(), orderRecord(c.value), nil)
		if got := show(events); err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, got, c.want)
		}
	}
}

// TestWholeOrNot refuses a record with one bad element as a whole, and says which.
func TestWholeOrNot(t *testing.T) {
	d := NewDecoder([]Version{{Source: orderSource()}}, nil)
	before := []featurestore.Event{{RecordTime: 1}}
	for _, c := range []struct {
		name, value, want string
		change            func(*kgo.Record)
	}{
		{"element without a required field", strings.Replace(order, `"sku":"cup"`, `"x":1`, 1), `element 2: required field "sku" (at order.items.sku) is missing`, nil},
		{"element of a wrong type", strings.Replace(order, `250`, `"250"`, 1), `element 1: field "cents" (at order.items.price.cents) is a string`, nil},
		{"element that is no object", strings.Replace(order, `{"sku":"cup","price":null}`, `7`, 1), `element 2: is a number; an object`, nil},
		{"null element", strings.Replace(order, `{"sku":"cup","price":null}`, `null`, 1), `element 2: is null; an object`, nil},
		{"no array to explode", strings.Replace(order, `"items":[`, `"items":7,"more":[`, 1), `"order.items" is a number; an array`, nil},
		{"no object on the way", `{"order":[],"meta":{"at":1700000000000}}`, `"order" is an array; an object`, nil},
		{"time missing", strings.Replace(order, `"at"`, `"x"`, 1), `"meta.at", the event time, is missing`, nil},
		{"a name twice, below", strings.Replace(order, `"city":"Ulm"`, `"city":"Ulm","city":"Bonn"`, 1), `duplicate`, nil},
		{"broken after the array", strings.Replace(order, `"Ulm"`, `x`, 1), `not valid JSON`, nil},
		{"key missing", order, `required field "buyer" (the record's key)`, func(r *kgo.Record) { r.Key = nil }},
		{"key no number", order, `field "buyer" (the record's key) is "4x"; int64 as text`, func(r *kgo.Record) { r.Key = []byte("4x") }},
		{"header not UTF-8", order, `field "tenant" (header "tenant") is not valid UTF-8`, func(r *kgo.Record) { r.Headers[1].Value = []byte{255} }},
		{"header no bool", order, `field "retry" (header "retry") is "1"; bool`, func(r *kgo.Record) { r.Headers[2].Value = []byte("1") }},
		{"header infinite", order, `float64 as text`, func(r *kgo.Record) { r.Headers[3].Value = []byte("Inf") }},
		{"too many elements", `{"order":{"items":[` + strings.Repeat(`{},`, featurestore.MaxElements) + `{}]}}`, `more than 10000 elements`, nil},
	} {
		r := orderRecord(c.value)
		if c.change != nil {
			c.change(r)
		}
		events, err := d.Decode(t.Context(), r, before)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(events) != 1 {
			t.Errorf("%s: %d events, %v; want something with %q", c.name, len(events)-1, err, c.want)
		}
	}
}

// TestTextTimeOf1970: the epoch, and what is before it, is told as it is, not as missing.
func TestTextTimeOf1970(t *testing.T) {
	source := testSource()
	source.TimeUnit = featurestore.RFC3339
	for _, at := range []string{"1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z"} {
		_, err := one(t, NewDecoder([]Version{{Source: source}}, nil), record(strings.Replace(good, "1700000000000", strconv.Quote(at), 1), 0))
		if err == nil || !strings.Contains(err.Error(), at+`", which is no time after 1970`) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestScalarElements explodes an array of numbers, by the record's own time.
func TestScalarElements(t *testing.T) {
	source := &featurestore.Source{
		Name: "views", TimeRecord: true, MaxAge: time.Hour, Explode: "ids",
		Fields: []featurestore.Field{
			{Name: "id", Type: featurestore.Int64, Path: "ids", Required: true}, {Name: "user", Type: featurestore.String},
		},
	}
	d := NewDecoder([]Version{{Source: source}}, nil)
	events, err := d.Decode(t.Context(), record(`{"ids":[7,8],"user":"ann"}`, 5), nil)
	if want := "3/7/0@5 [7 \"ann\"]\n3/7/1@5 [8 \"ann\"]"; err != nil || show(events) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, show(events), want)
	}
	if _, err := d.Decode(t.Context(), record(`{"ids":[7,null]}`, 0), nil); err == nil || !strings.Contains(err.Error(), "element 2: required field") {
		t.Errorf("null for a required scalar: %v", err)
	}
}

// TestMovedField changes where a field is: the record's timestamp alone says which holds.
func TestMovedField(t *testing.T) {
	before, after := testSource(), testSource()
	after.Fields[1].Path = "more.n"
	d := NewDecoder([]Version{{Source: before}, {From: recordMillis * 1000, Source: after}}, nil)
	value := strings.Replace(good, `"x":[1]`, `"n":9`, 1)
	for at, want := range map[int64]int64{-1: 3, 0: 9} {
		if e, err := one(t, d, record(value, at)); err != nil || e.Values[1].Int() != want {
			t.Errorf("%d µs after the change: %v, %v; want %d", at, e.Values, err, want)
		}
	}
}

// TestLargeArraysAreSeveralBatches bounds the events that are in memory at once.
func TestLargeArraysAreSeveralBatches(t *testing.T) {
	value := `{"order":{"items":[` + strings.Repeat(`{"sku":"a"},`, 8000) + `{"sku":"a"}]},"meta":{"at":1700000000000}}`
	p := &partition{decoder: NewDecoder([]Version{{Source: orderSource()}}, nil)}
	var records []*kgo.Record
	for i := range 30 {
		r := orderRecord(value)
		r.Offset = int64(i)
		records = append(records, r)
	}
	batches, events := 0, 0
	for len(records) > 0 {
		batch, n, err := p.decode(t.Context(), records)
		if err != nil || batch.From != p.next || batch.To != p.next+int64(n) || len(batch.Rejected) > 0 {
			t.Fatalf("batch %d: [%d, %d) of %d records from %d, %d rejected, %v", batches, batch.From, batch.To, n, p.next, len(batch.Rejected), err)
		}
		p.next, records = batch.To, records[n:]
		batches++
		events += len(batch.Events)
	}
	if batches != 3 || events != 30*8001 {
		t.Errorf("%d batches with %d events", batches, events)
	}
}

// TestSizesAreBounded: what is kept in rows is no longer than they allow for, and what a
// record says once is not multiplied without end.
func TestSizesAreBounded(t *testing.T) {
	source := orderSource()
	source.Fields[3].MaxBytes, source.Fields[4].MaxBytes = 4, 5
	source.Fields = append(source.Fields,
		featurestore.Field{Name: "tags", Type: featurestore.ListOf(featurestore.String), Path: "tags", MaxBytes: 3, MaxElements: 2},
		featurestore.Field{Name: "note", Type: featurestore.String, Path: "note"})
	d := NewDecoder([]Version{{Source: source}}, nil)
	value := func(city, tags, note string, items int) string {
		return fmt.Sprintf(`{"order":{"items":[%s],"to":{"city":%q}},"tags":%s,"note":%q,"meta":{"at":1700000000000}}`,
			strings.TrimSuffix(strings.Repeat(`{"sku":"tea"},`, items), ","), city, tags, note)
	}
	long := strings.Repeat("n", 90_000)
	for _, c := range []struct{ value, tenant, want string }{
		{value("Bonn", `["abc","x"]`, long, 90), "green", ""},
		{value("Paris", `[]`, "", 1), "green", `field "city" (at order.to.city) has a text of 5 bytes; at most 4 are accepted (max_bytes)`},
		{value("Bonn", `["abcd"]`, "", 1), "green", `field "tags" (at tags) has a text of 4 bytes; at most 3`},
		{value("Bonn", `["a","b","c"]`, "", 1), "green", `has 3 elements; at most 2 are accepted (max_elements)`},
		{value("Bonn", `[]`, "", 1), "yellow", `field "tenant" (header "tenant") has a text of 6 bytes`},
		{value("Bonn", `[]`, long, 94), "green", `each of the 94 elements of "order.items" is an event with 90009 bytes that the record says once; together at most 8388608`},
	} {
		r := orderRecord(c.value)
		r.Headers[1].Value = []byte(c.tenant)
		events, err := d.Decode(t.Context(), r, nil)
		switch {
		case c.want == "" && err == nil:
		case c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) || KindOf(err) != TooLarge || len(events) != 0:
			t.Errorf("%.60s: %d events, %v (%s), want %q", c.value, len(events), err, KindOf(err), c.want)
		}
	}
}

func TestTombstones(t *testing.T) {
	deletes, plain := orderSource(), orderSource()
	deletes.Deletes = true
	d := NewDecoder([]Version{{Source: plain}, {From: recordMillis * 1000, Source: deletes}}, nil)
	tombstone := func(at int64) *kgo.Record {
		r := orderRecord("")
		r.Value, r.Timestamp = nil, r.Timestamp.Add(time.Duration(at)*time.Microsecond)
		return r
	}
	events, err := d.Decode(t.Context(), tombstone(4), nil)
	if want := "3/7/0@4 [null null 42 null null null null]"; err != nil || show(events) != want || !events[0].Delete {
		t.Errorf("%v\n%s\nwant %s", err, show(events), want)
	}
	if events, err := d.Decode(t.Context(), orderRecord(order), nil); err != nil || len(events) != 2 || events[0].Delete {
		t.Errorf("a record with a value: %v, %v", events, err)
	}
	if _, err := d.Decode(t.Context(), tombstone(-1), nil); err == nil || !strings.Contains(err.Error(), "tombstone: delete") {
		t.Errorf("a tombstone of before they were allowed: %v", err)
	}
	for name, change := range map[string]func(*kgo.Record){
		`required field "buyer" (the record's key)`: func(r *kgo.Record) { r.Key = nil },
		`is "x"; int64 as text`:                     func(r *kgo.Record) { r.Key = []byte("x") },
	} {
		r := tombstone(0)
		change(r)
		if _, err := d.Decode(t.Context(), r, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want something with %s", err, name)
		}
	}
}

// TestNumbersInKeysHaveOneForm: 7 and 007 would be one entity with two keys.
func TestNumbersInKeysHaveOneForm(t *testing.T) {
	for text, want := range map[string]bool{"7": true, "-7": true, "0": true, "007": false, "+7": false, "-0": false, " 7": false} {
		if _, err := textValue([]byte(text), featurestore.Int64); (err == nil) != want {
			t.Errorf("%q as an int64: %v", text, err)
		}
	}
	for text, want := range map[string]bool{"1.5": true, "-1e3": true, "0x1p4": false, "1_000": false, "inf": false} {
		if _, err := textValue([]byte(text), featurestore.Float64); (err == nil) != want {
			t.Errorf("%q as a float64: %v", text, err)
		}
	}
}
