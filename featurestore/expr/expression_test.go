package expr

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/onehop/onehop/featurestore"
)

var inputTypes = map[string]featurestore.Type{
	"user.mean": featurestore.Float64, "user.n": featurestore.Int64, "user.city": featurestore.String, "user.seen": featurestore.Bool,
	"user.last": featurestore.ListOf(featurestore.Int64), "movie.mean": featurestore.Float64, "movie.raw": featurestore.Bytes,
	"request.hour": featurestore.Int64,
}

var errNone = errors.New("there is none")

func scope(ref featurestore.Ref) (featurestore.Type, error) {
	if t, ok := inputTypes[ref.String()]; ok {
		return t, nil
	}
	return 0, fmt.Errorf("%s: %w", ref, errNone)
}

func compute(t *testing.T, text string, values map[string]featurestore.Value) (featurestore.Value, featurestore.Type) {
	t.Helper()
	e, err := NewExpression(text, scope)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var inputs []featurestore.Value
	for _, ref := range e.Inputs() {
		inputs = append(inputs, values[ref.String()])
	}
	return e.Compute().Value(inputs), e.Type()
}

func ints(list ...int64) featurestore.Value {
	v := featurestore.ListValue(featurestore.Int64, []featurestore.Value{})
	for _, i := range list {
		v.List = append(v.List, featurestore.IntValue(i))
	}
	return v
}

func TestExpression(t *testing.T) {
	full := map[string]featurestore.Value{
		"user.mean": featurestore.FloatValue(4.5), "user.n": featurestore.IntValue(3), "user.city": featurestore.StringValue("Oslo"),
		"user.seen": featurestore.BoolValue(true), "user.last": ints(3, 1, 2), "movie.mean": featurestore.FloatValue(0),
		"movie.raw": featurestore.BytesValue([]byte("ab")), "request.hour": featurestore.IntValue(22),
	}
	for _, c := range []struct{ text, typ, full, empty string }{
		{"user.mean - movie.mean", "float64", "4.5", "null"},
		{"user.mean == null ? 0.0 : user.mean", "float64", "4.5", "0"},
		{"user.mean", "float64", "4.5", "null"},
		{"user.n * 2 + request.hour", "int64", "28", "null"},
		{"double(user.n) / user.mean", "float64", "0.6666666666666666", "null"},
		{"user.mean / movie.mean", "float64", "null", "null"},               // no number: infinite
		{"movie.mean / movie.mean", "float64", "null", "null"},              // NaN
		{"user.n / (user.n - 3)", "int64", "null", "null"},                  // division by zero
		{"user.n * 9223372036854775807", "int64", "null", "null"},           // more than an int64
		{"int(user.mean * 1e300)", "int64", "null", "null"},                 // neither
		{"[user.mean / movie.mean]", "list<float64>", "null", "null"},       // no element is no number
		{"[user.n]", "list<int64>", "[3]", "null"},                          // and none is null
		{"user.n > 2 && user.mean > 4.0", "bool", "true", "null"},           // null has no order
		{"user.n == null || request.hour > 20", "bool", "true", "true"},     // but equals null
		{"user.seen || user.n > 5", "bool", "true", "null"},                 //
		{"request.hour >= 22.0", "bool", "true", "null"},                    // numbers compare across types
		{"user.city + '!'", "string", `"Oslo!"`, "null"},                    //
		{"user.city in ['Oslo', 'Rome']", "bool", "true", "false"},          //
		{"size(user.last)", "int64", "3", "null"},                           //
		{"dyn(user.last) == null ? 0 : size(user.last)", "int64", "3", "0"}, // a list is compared so
		{"user.last.map(x, x * 2)", "list<int64>", "[6 2 4]", "null"},
		{"user.last.exists(user, user == 1)", "bool", "true", "null"}, // a name of its own
		{"user.last[7]", "int64", "null", "null"},
		{"math.greatest(user.mean, 5.0)", "float64", "5", "null"},
		{"size(movie.raw)", "int64", "2", "null"},
		{"'late'", "string", `"late"`, `"late"`},
	} {
		got, typ := compute(t, c.text, full)
		if got.String() != c.full || typ.String() != c.typ {
			t.Errorf("%s: %s, a %s; want %s, a %s", c.text, got, typ, c.full, c.typ)
		}
		if got, _ := compute(t, c.text, nil); got.String() != c.empty {
			t.Errorf("%s of nulls: %s, want %s", c.text, got, c.empty)
		}
	}
}

func TestInputsOfAnExpression(t *testing.T) {
	e, err := NewExpression("request.hour > 3 ? user.mean : (movie.mean + user.mean)", scope)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(e.Inputs()); got != "[request.hour user.mean movie.mean]" {
		t.Error(got)
	}
}

func TestExpressionsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"user.mean - user.men":       "column 13: user.men: there is none",
		"mean > 1.0":                 "column 1: undeclared reference to 'mean': write view.feature",
		"user.n * user.mean":         "column 8: found no matching overload for '_*_' applied to '(int64, float64)'",
		"user.n > 1 ? 1 : 2.0":       "column 12: found no matching overload",
		"user.mean.x":                "type 'float64' does not support",
		"has(user.mean)":             "column 5: every feature is there, and null where it has no value: write user.mean != null",
		"user.mean >":                "Syntax error",
		"null":                       "gives null",
		"{'a': 1}":                   "gives map(string, int64); a feature is",
		"movie.raw":                  "gives bytes; a feature is",
		"math.greatest(user.n, 1.5)": "only when it is evaluated",
		"[[1]]":                      "gives list(list<int64>)",
		"timestamp(0)":               "a feature is int64",
		strings.Repeat("a", 1025):    "at most 1024",
	} {
		_, err := NewExpression(text, scope)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %q", text, err, want)
		}
	}
	if _, err := NewExpression("user.men", scope); !errors.Is(err, errNone) {
		t.Errorf("the scope's error is lost: %v", err)
	}
}

// Nobody waits for long: what costs too much, or would be too long, is null.
func TestComputationIsBounded(t *testing.T) {
	list := ints(make([]int64, 1000)...)
	for _, text := range []string{"user.last.map(a, user.last.map(b, a * b)[0])", "user.last + user.last"} {
		if got, _ := compute(t, text, map[string]featurestore.Value{"user.last": list}); !got.IsNull() {
			t.Errorf("%s has %d elements", text, len(got.List))
		}
	}
	if got, _ := compute(t, "user.last.map(a, a)", map[string]featurestore.Value{"user.last": list}); len(got.List) != 1000 {
		t.Errorf("a list of a thousand has %d", len(got.List))
	}
}

func BenchmarkValue(b *testing.B) {
	for _, text := range []string{"user.mean - movie.mean", "request.hour >= 22", "user.mean == null ? 0.0 : user.mean", "user.city == 'Oslo'"} {
		b.Run(text, func(b *testing.B) {
			e, err := NewExpression(text, scope)
			if err != nil {
				b.Fatal(err)
			}
			var inputs []featurestore.Value
			for _, ref := range e.Inputs() {
				inputs = append(inputs, map[featurestore.Type]featurestore.Value{
					featurestore.Float64: featurestore.FloatValue(math.Pi), featurestore.Int64: featurestore.IntValue(22),
					featurestore.String: featurestore.StringValue("Oslo"),
				}[inputTypes[ref.String()]])
			}
			c := e.Compute()
			b.ReportAllocs()
			for b.Loop() {
				if c.Value(inputs).IsNull() {
					b.Fatal("null")
				}
			}
		})
	}
}
