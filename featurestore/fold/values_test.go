package fold

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

// TestRunsAreExact: a run of any values, nulls and lists among them, is read as it was
// packed, and what skips a value ends where what reads it ends.
func TestRunsAreExact(t *testing.T) {
	scalars := []featurestore.Type{featurestore.Int64, featurestore.Float64, featurestore.Bool, featurestore.String, featurestore.Bytes}
	draw := func(t *rapid.T, typ featurestore.Type) featurestore.Value {
		switch typ {
		case featurestore.Int64:
			return featurestore.IntValue(rapid.Int64().Draw(t, "int"))
		case featurestore.Float64:
			return featurestore.FloatValue(rapid.OneOf(rapid.Float64(), rapid.Map(rapid.Int32(), func(i int32) float64 { return float64(i) / 100 })).Draw(t, "float"))
		case featurestore.Bool:
			return featurestore.BoolValue(rapid.Bool().Draw(t, "bool"))
		default:
			return featurestore.Value{Type: typ, Bytes: rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "text")}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var values []featurestore.Value
		var types []featurestore.Type
		for range rapid.IntRange(0, 9).Draw(t, "n") {
			typ := rapid.SampledFrom(scalars).Draw(t, "type")
			v := draw(t, typ)
			switch rapid.IntRange(0, 3).Draw(t, "shape") {
			case 0:
				v = featurestore.Value{}
			case 1:
				list := make([]featurestore.Value, rapid.IntRange(0, 5).Draw(t, "elements"))
				for i := range list {
					list[i] = draw(t, typ)
				}
				v = featurestore.ListValue(typ, list)
				typ = v.Type
			}
			values, types = append(values, v), append(types, typ)
		}
		tags, src, err := openRun(append(appendRun(nil, values), "rest"...), len(values))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range values {
			skipped, err := skipBody(src, types[i], tags.tag(i))
			if err != nil {
				t.Fatal(err)
			}
			got, rest, err := readBody(src, types[i], tags.tag(i))
			if err != nil || !got.Equal(want) || len(rest) != len(skipped) {
				t.Fatalf("value %d was %v and is %v, %v; %d bytes left, %d when skipped", i, want, got, err, len(rest), len(skipped))
			}
			src = rest
		}
		if string(src) != "rest" {
			t.Fatalf("%q is left", src)
		}
	})
}

func TestSumBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 7, 8, 9, 20, 1023, 1024, 1025, 5000} {
		for _, worst := range []byte{0, 127, 128, 255} {
			data, want := make([]byte, n), int64(0)
			for i := range data {
				if data[i] = worst; worst == 0 {
					data[i] = byte(random.Uint32())
				}
				want += int64(int8(data[i]))
			}
			if got := sumBytes(data); got != want {
				t.Errorf("%d bytes of %d: %d, want %d", n, worst, got, want)
			}
		}
	}
}
