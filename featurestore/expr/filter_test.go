package expr

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/featurestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func source() *featurestore.Source {
	return &featurestore.Source{Name: "ratings", Fields: []featurestore.Field{
		{Name: "user_id", Type: featurestore.Int64, Required: true},
		{Name: "rating", Type: featurestore.Float64},
		{Name: "title", Type: featurestore.String},
		{Name: "genres", Type: featurestore.ListOf(featurestore.String)},
		{Name: "seen", Type: featurestore.Bool},
		{Name: "stars", Type: featurestore.Int64},
	}}
}

func TestFilter(t *testing.T) {
	null := featurestore.Value{}
	genres := featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue("Drama")})
	full := []featurestore.Value{
		featurestore.IntValue(7), featurestore.FloatValue(4.5), featurestore.StringValue("Heat"), genres,
		featurestore.BoolValue(true), featurestore.IntValue(0),
	}
	empty := []featurestore.Value{featurestore.IntValue(7), null, null, null, null, null}
	for _, c := range []struct {
		text        string
		full, empty bool
	}{
		{"rating >= 4.0", true, false},
		{"rating < 4.0", false, false},
		{"rating == null", false, true},
		{"title != 'Ran'", true, true}, // null is another value
		{"!(title == 'Ran')", true, true},
		{"!(rating > 5.0)", true, false}, // null has no order
		{"rating == null || rating > 4.0", true, true},
		{"user_id % 2 == 1", true, true},
		{"title.startsWith('He') && seen", true, false},
		{"title.lowerAscii() == 'heat'", true, false},
		{"'Drama' in genres", true, false},
		{"genres.exists(g, g == 'Drama')", true, false},
		{"!('Drama' in genres)", false, false},
		{"user_id / stars > 1", false, false}, // division by zero is not true
		{"title.matches('^H.*t$')", true, false},
	} {
		f, err := NewFilter(c.text, source())
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		e := f.Evaluate()
		if got := e.Passes(full); got != c.full {
			t.Errorf("%s over a full event: %v", c.text, got)
		}
		if got := e.Passes(empty); got != c.empty {
			t.Errorf("%s over an event of nulls: %v", c.text, got)
		}
	}
}

func TestFiltersThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"ratin > 4.0":             "undeclared reference to 'ratin'",
		"rating > 4":              "", // CEL compares numbers of different types
		"rating > 'four'":         "applied to '(float64, string)'",
		"rating + 1.0":            "gives float64; a condition gives bool",
		"title":                   "gives string; a condition gives bool",
		"genres":                  "gives list<string>; a condition gives bool",
		"1 in [genres]":           "applied to '(int64, list(list<string>))'",
		"title.startsWith(1)":     "applied to 'string.(int64)'",
		"title.x":                 "type 'string' does not support",
		"true && title":           "expected type 'bool' but found 'string'",
		"rating >":                "Syntax error",
		"title.matches('(')":      "invalid matches argument",
		strings.Repeat("a", 1025): "at most 1024",
	} {
		_, err := NewFilter(text, source())
		if want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || want == "" {
			t.Errorf("%.20s: got %v, want %q", text, err, want)
		}
	}
}

// A condition cannot be made to run for long: one that costs too much is not true.
func TestCostIsBounded(t *testing.T) {
	f, err := NewFilter("genres.all(a, genres.all(b, genres.all(c, genres.all(d, a == b))))", source())
	if err != nil {
		t.Fatal(err)
	}
	list := make([]featurestore.Value, 1000)
	for i := range list {
		list[i] = featurestore.StringValue("x")
	}
	values := make([]featurestore.Value, 6)
	values[3] = featurestore.ListValue(featurestore.String, list)
	if f.Evaluate().Passes(values) {
		t.Error("10^12 comparisons were made")
	}
}

func BenchmarkPasses(b *testing.B) {
	f, err := NewFilter("rating >= 4.0 && title != 'Heat'", source())
	if err != nil {
		b.Fatal(err)
	}
	values := make([]featurestore.Value, 6)
	values[1], values[2] = featurestore.FloatValue(5), featurestore.StringValue("Ran")
	e := f.Evaluate()
	b.ReportAllocs()
	for b.Loop() {
		if !e.Passes(values) {
			b.Fatal("not true")
		}
	}
}
