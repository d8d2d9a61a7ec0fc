package featurestore

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestKeysAreReversible draws composite keys of any bytes, separators included: a key
// parses back to its parts, so that no two keys are equal.
func TestKeysAreReversible(t *testing.T) {
	e := &Entity{Name: "e", Keys: []JoinKey{{"a", String}, {"b", Int64}, {"c", Bytes}}}
	part := rapid.SliceOfN(rapid.SampledFrom([]byte{'|', '\\', 'x', 0, 0xff, '\n', '}'}), 1, 12)
	rapid.Check(t, func(t *rapid.T) {
		values := []Value{
			{Type: String, Bytes: part.Draw(t, "a")}, IntValue(rapid.Int64().Draw(t, "b")), BytesValue(part.Draw(t, "c")),
		}
		key, err := e.AppendKey([]byte("before"), values)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.ParseKey(bytes.TrimPrefix(key, []byte("before")))
		if err != nil {
			t.Fatal(err)
		}
		for i := range values {
			if !got[i].Equal(values[i]) {
				t.Fatalf("part %d of %q: %s, want %s", i, key, got[i], values[i])
			}
		}
		if b := Bucket(key); b < 0 || b >= Buckets {
			t.Fatalf("bucket %d", b)
		}
	})
}

func TestBadKeys(t *testing.T) {
	e := &Entity{Name: "user", Keys: []JoinKey{{"id", String}}}
	for name, c := range map[string]struct {
		v    Value
		want string
	}{
		"null":     {Value{}, "is null"},
		"type":     {IntValue(1), "is int64"},
		"empty":    {StringValue(""), "is empty"},
		"too long": {StringValue(strings.Repeat("x", MaxKeyBytes+1)), "1025 bytes"},
	} {
		if _, err := e.AppendKey(nil, []Value{c.v}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something with %q", name, err, c.want)
		}
	}
	if _, err := e.AppendKey(nil, []Value{StringValue(strings.Repeat("x", MaxKeyBytes))}); err != nil {
		t.Errorf("the longest key: %v", err)
	}
}

func TestWindows(t *testing.T) {
	for _, c := range []struct {
		length, hop time.Duration
		name        string
	}{
		{time.Second, time.Second, "1s"},
		{time.Minute, time.Second, "1m"},
		{10 * time.Minute, 10 * time.Second, "10m"},
		{time.Hour, time.Minute, "1h"},
		{24 * time.Hour, 15 * time.Minute, "1d"},
		{30 * 24 * time.Hour, 6 * time.Hour, "30d"},
		{365 * 24 * time.Hour, 24 * time.Hour, "365d"},
		{90 * time.Second, time.Second, "90s"},
		{Lifetime, 0, "lifetime"},
	} {
		w := NewWindow(c.length)
		if w.Hop != c.hop || w.String() != c.name {
			t.Errorf("%s: hop %s, name %s; want %s, %s", c.length, w.Hop, w, c.hop, c.name)
		}
	}
	w := Window{Length: time.Minute, Hop: 10 * time.Second}
	for at, want := range map[int64]int64{125e6: 60e6, 130e6: 70e6, 130e6 - 1: 60e6, 5e6: 0} {
		if got := w.Start(at); got != want {
			t.Errorf("at %d the window starts at %d, want %d", at, got, want)
		}
	}
}

func TestTypesHaveNames(t *testing.T) {
	for _, name := range TypeNames() {
		typ, err := ParseType(name)
		if err != nil || typ.String() != name {
			t.Errorf("%s: %s, %v", name, typ, err)
		}
	}
	for _, bad := range []string{"", "int", "list<", "list<int64", "list<list<int64>>", "int64>"} {
		if typ, err := ParseType(bad); err == nil {
			t.Errorf("%q is %s", bad, typ)
		}
	}
}

func TestRetention(t *testing.T) {
	hour, age := NewWindow(time.Hour), 7*24*time.Hour
	for name, c := range map[string]struct {
		view View
		want time.Duration
	}{
		"window":             {View{Features: []Feature{{Windows: []Window{hour}}}}, hour.Length + hour.Hop + age},
		"longer TTL":         {View{TTL: 2 * time.Hour, Features: []Feature{{Windows: []Window{hour}}}}, 2*time.Hour + age},
		"latest":             {View{Features: []Feature{{}}}, 0},
		"latest with TTL":    {View{TTL: time.Hour, Features: []Feature{{}}}, time.Hour + age},
		"first with TTL":     {View{TTL: time.Hour, Features: []Feature{{Aggregate: "first"}}}, 0},
		"decayed with TTL":   {View{TTL: time.Hour, Features: []Feature{{Aggregate: "decayed_sum"}}}, 0},
		"lifetime":           {View{Features: []Feature{{Windows: []Window{hour, {}}}}}, 0},
		"lifetime, with TTL": {View{TTL: time.Hour, Features: []Feature{{Windows: []Window{{}}}}}, 0},
	} {
		if got := c.view.Retention(age); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestTimesHaveSmallLettersToo: RFC 3339 allows them.
func TestTimesHaveSmallLettersToo(t *testing.T) {
	for text, want := range map[string]int64{
		"1970-01-01T00:00:01Z": 1e6, "1970-01-01t00:00:01z": 1e6, "1970-01-01t01:00:00.5+01:00": 5e5,
	} {
		if got, err := ParseTime(text); err != nil || got.UnixMicro() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"1970-01-01 00:00:01Z", "1970-01-01t00:00:01", "1970-01-01t00:00:01zz"} {
		if got, err := ParseTime(text); err == nil {
			t.Errorf("%s is %v", text, got)
		}
	}
}
