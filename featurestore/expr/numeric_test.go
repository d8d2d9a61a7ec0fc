package expr

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

// numbersScope has two inputs of each type.
func numbersScope(ref featurestore.Ref) (featurestore.Type, error) {
	return map[byte]featurestore.Type{'i': featurestore.Int64, 'f': featurestore.Float64, 'b': featurestore.Bool}[ref.Column[0]], nil
}

// drawExpression draws an expression of a type: "i", "f" or "b".
func drawExpression(t *rapid.T, typ string, depth int) string {
	draw := func(typ string) string { return drawExpression(t, typ, depth-1) }
	pick := func(list ...string) string { return rapid.SampledFrom(list).Draw(t, "pick") }
	leaf := map[string][]string{
		"i": {"v.i1", "v.i2", "0", "1", "-1", "3", "9223372036854775807", "-9223372036854775808"},
		"f": {"v.f1", "v.f2", "0.0", "-1.5", "2.0", "1e300", "9223372036854775807.0", "0.1"},
		"b": {"v.b1", "v.b2", "true", "false"},
	}[typ]
	kinds := map[string]int{"i": 5, "f": 4, "b": 7}[typ]
	if depth == 0 {
		return pick(leaf...)
	}
	switch kind := rapid.IntRange(0, kinds).Draw(t, "kind"); {
	case kind == 0:
		return pick(leaf...)
	case kind == 1:
		return fmt.Sprintf("(%s ? %s : %s)", draw("b"), draw(typ), draw(typ))
	case kind == 2 && typ != "b":
		return fmt.Sprintf("(-(%s))", draw(typ))
	case kind == 2:
		return fmt.Sprintf("(!%s)", draw("b"))
	case kind == 3 && typ != "b":
		return fmt.Sprintf("%s(%s)", map[string]string{"i": "int", "f": "double"}[typ], draw(pick("i", "f")))
	case typ == "i":
		return fmt.Sprintf("(%s %s %s)", draw("i"), pick("+", "-", "*", "/", "%"), draw("i"))
	case typ == "f":
		return fmt.Sprintf("(%s %s %s)", draw("f"), pick("+", "-", "*", "/"), draw("f"))
	case kind == 3:
		return fmt.Sprintf("(%s %s %s)", draw("b"), pick("&&", "||", "==", "!=", "<", ">="), draw("b"))
	case kind == 4:
		return fmt.Sprintf("(%s %s null)", pick("v.i1", "v.f1", "v.b1"), pick("==", "!="))
	case kind == 5:
		same := pick("i", "f")
		return fmt.Sprintf("(%s %s %s)", draw(same), pick("==", "!="), draw(same))
	default:
		return fmt.Sprintf("(%s %s %s)", draw(pick("i", "f")), pick("<", "<=", ">", ">="), draw(pick("i", "f")))
	}
}

func drawInput(t *rapid.T, name string) featurestore.Value {
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return featurestore.Value{}
	}
	switch name[2] {
	case 'i':
		return featurestore.IntValue(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3),
			rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, 1<<53 + 1})).Draw(t, name))
	case 'f':
		return featurestore.FloatValue(rapid.OneOf(rapid.Float64(), rapid.Map(rapid.IntRange(-3, 3), func(i int) float64 { return float64(i) }),
			rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MinInt64, 1 << 53, math.Copysign(0, -1)})).Draw(t, name))
	default:
		return featurestore.BoolValue(rapid.Bool().Draw(t, name))
	}
}

// TestNumbersAreAsInCEL: what evaluates without allocating evaluates to what CEL says, bit by
// bit.
func TestNumbersAreAsInCEL(t *testing.T) {
	values := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawExpression(t, rapid.SampledFrom([]string{"i", "f", "b"}).Draw(t, "type"), rapid.IntRange(0, 4).Draw(t, "depth"))
		e, err := NewExpression(text, numbersScope)
		if err != nil {
			if strings.Contains(err.Error(), "at most 1024") || strings.Contains(err.Error(), "the expression cannot be evaluated") {
				return // a constant overflows
			}
			t.Fatalf("%s: %v", text, err)
		}
		if e.numbers == nil {
			t.Fatalf("%s is left to CEL", text)
		}
		c := e.Compute()
		for range 8 {
			var inputs []featurestore.Value
			for _, ref := range e.Inputs() {
				inputs = append(inputs, drawInput(t, ref.String()))
			}
			got, want := c.Value(inputs), c.evaluate(inputs)
			if !got.Equal(want) {
				t.Fatalf("%s of %v (%v): %v, CEL says %v", text, inputs, e.Inputs(), got, want)
			}
			if !got.IsNull() && len(inputs) > 0 {
				values++
			}
		}
	})
	if values == 0 {
		t.Error("all values were null")
	}
}

// Products are told to be too large to the last one.
func TestProductsAtTheLimit(t *testing.T) {
	e, err := NewExpression("v.i1 * v.i2", numbersScope)
	if err != nil {
		t.Fatal(err)
	}
	c := e.Compute()
	list := []int64{ // 2⁶³ + 1 is the third and the fourth, 2⁶³ the fifth and 2
		0, -1, 3, 3074457345618258603, 1 << 62, 2, -2, -3, 7, 1317624576693539401, math.MaxInt64, math.MinInt64, 1 << 32, -1 << 31,
	}
	for _, a := range list {
		for _, b := range list {
			inputs := []featurestore.Value{featurestore.IntValue(a), featurestore.IntValue(b)}
			if got, want := c.Value(inputs), c.evaluate(inputs); !got.Equal(want) {
				t.Errorf("%d * %d: %v, CEL says %v", a, b, got, want)
			}
		}
	}
}

// What has text or lists in it, or functions, is left to CEL.
func TestWhatIsLeftToCEL(t *testing.T) {
	for _, text := range []string{"user.city == 'Oslo'", "size(user.last) > 1", "math.abs(user.mean)", "user.city == null", "int('3') + user.n", "user.last == [1]"} {
		if e, err := NewExpression(text, scope); err != nil || e.numbers != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestNumbersAllocateNothing(t *testing.T) {
	e, err := NewExpression("user.mean == null || movie.mean == null ? 0.0 : (user.mean - movie.mean) / double(user.n + 1)", scope)
	if err != nil {
		t.Fatal(err)
	}
	var inputs []featurestore.Value
	for _, ref := range e.Inputs() {
		inputs = append(inputs, map[featurestore.Type]featurestore.Value{
			featurestore.Float64: featurestore.FloatValue(math.Pi), featurestore.Int64: featurestore.IntValue(22),
		}[inputTypes[ref.String()]])
	}
	c := e.Compute()
	if n := testing.AllocsPerRun(100, func() { c.Value(inputs) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
