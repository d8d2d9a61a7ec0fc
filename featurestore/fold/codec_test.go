package fold

import (
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

var update = flag.Bool("update", false, "rewrite the golden row")

func goldenEvents() []featurestore.Event {
	const at = 1_700_000_000 * int64(1e6)
	var events []featurestore.Event
	for i := range int64(8) {
		events = append(events, featurestore.Event{
			Position: featurestore.Position{Time: at + i*7*second, Partition: int32(i % 2), Offset: 1000 + i},
			Values: []featurestore.Value{
				featurestore.IntValue(42), featurestore.IntValue(i - 2), featurestore.FloatValue(float64(i) * 0.5),
				featurestore.StringValue("title"),
				featurestore.ListValue(featurestore.String, []featurestore.Value{featurestore.StringValue("Drama")}),
			},
		})
	}
	return events
}

// TestGoldenRow fails when the row codec changes: rows in Redis would become
// unreadable. A change needs a new codec version and readers for the old one.
func TestGoldenRow(t *testing.T) {
	p, _ := compileTest(t)
	state := p.NewState()
	for _, e := range goldenEvents() {
		state.Fold(&e)
	}
	got := hex.EncodeToString(state.AppendRow(nil))
	if *update {
		if err := os.WriteFile("testdata/row.golden", []byte(got+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/row.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.TrimSpace(string(want)) {
		t.Fatalf("the packed row changed:\n got %s\nwant %s", got, want)
	}
}

func TestDamagedRowsAreRefused(t *testing.T) {
	p, _ := compileTest(t)
	state := p.NewState()
	for _, e := range goldenEvents() {
		state.Fold(&e)
	}
	row := state.AppendRow(nil)
	for i := range row {
		damaged := append([]byte(nil), row...)
		damaged[i] ^= 0x40
		if err := p.NewState().Decode(damaged); err == nil {
			t.Fatalf("a row with byte %d changed was accepted", i)
		}
	}
	other := append([]byte(nil), row...)
	other[9]++
	if err := p.NewState().Decode(other); !errors.Is(err, ErrOtherDefinition) {
		t.Fatalf("a row of another definition: %v", err)
	}
}

// FuzzRow feeds the two decoders of rows anything; they may fail, not panic.
func FuzzRow(f *testing.F) {
	p, r := compileTest(f)
	state := p.NewState()
	for _, e := range goldenEvents() {
		state.Fold(&e)
	}
	row := state.AppendRow(nil)
	f.Add(row)
	f.Add(row[:len(row)-9])
	cells := make([]featurestore.Cell, r.cells)
	f.Fuzz(func(_ *testing.T, row []byte) {
		s := p.NewState()
		if s.Decode(row) == nil {
			s.AppendRow(nil)
		}
		_ = r.Read(row, 1_700_000_100*second, cells)
		if len(row) > 17 { // and past the checks of the head
			copy(row[8:17], state.AppendRow(nil)[8:17])
			_ = r.Read(row, 1_700_000_100*second, cells)
		}
	})
}

func TestColumnsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		floats := rapid.SliceOfN(rapid.OneOf(
			rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1, -128, 0.5, 1 << 31, 1 << 40}),
			rapid.Map(rapid.Float32(), func(f float32) float64 { return float64(f) }),
			rapid.Map(rapid.Int32(), func(i int32) float64 { return float64(i) }),
		), 1, 9).Draw(t, "floats")
		c, rest, err := nextColumn(appendFloats(nil, floats), len(floats))
		if err != nil || len(rest) != 0 {
			t.Fatal(err, rest)
		}
		for i, f := range floats {
			if math.Float64bits(c.float(i)) != math.Float64bits(f) {
				t.Fatalf("float %d of %v: got %v", i, floats, c.float(i))
			}
		}
		ints := rapid.SliceOfN(rapid.Int64(), 1, 9).Draw(t, "ints")
		c, _, err = nextColumn(appendInts(nil, ints), len(ints))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range ints {
			if c.int(i) != v {
				t.Fatalf("int %d of %v: got %d", i, ints, c.int(i))
			}
		}
	})
}

// TestFloatsAreExact: a packed float is the same float, in no more bytes than it takes.
func TestFloatsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.OneOf(
			rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 0.1, -19.99, 214748.3647, 214748.3648, 1e-5, 0.1 + 0.2, 1 << 40}),
			rapid.Map(rapid.Int32(), func(i int32) float64 { return float64(i) / 100 }),
		).Draw(t, "float")
		packed := appendOneFloat(nil, f)
		got, rest, err := readOneFloat(packed)
		if err != nil || len(rest) != 0 || math.Float64bits(got) != math.Float64bits(f) {
			t.Fatalf("%v was packed as %x and read as %v, %v", f, packed, got, err)
		}
		if enc := floatEncoding(f); len(packed) > 1+encodingWidth[enc] {
			t.Fatalf("%v takes %d bytes", f, len(packed))
		}
	})
	if n := len(appendOneFloat(nil, 19.99)); n != 3 {
		t.Errorf("19.99 takes %d bytes, not 3", n)
	}
}
