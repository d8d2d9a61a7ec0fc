package fold

import (
	"bytes"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

// TestRowsStayWithinTheirBound folds anything within the assumptions of MaxRowBytes.
func TestRowsStayWithinTheirBound(t *testing.T) {
	p, _ := compileTest(t)
	state := p.NewState()
	most := p.MaxRowBytes()
	text := rapid.Map(rapid.IntRange(0, CountedTextBytes), func(n int) featurestore.Value {
		return featurestore.BytesValue(bytes.Repeat([]byte("x"), n))
	})
	rapid.Check(t, func(t *rapid.T) {
		state.Reset()
		events := drawEvents(t)
		for i := range events {
			e := &events[i]
			e.Partition = rapid.Int32Range(0, math.MaxInt32).Draw(t, "partition")
			e.Offset = rapid.Int64Range(0, math.MaxInt64).Draw(t, "offset")
			e.Index = rapid.Int32Range(0, math.MaxInt32).Draw(t, "index")
			if !e.Values[3].IsNull() {
				e.Values[3] = text.Draw(t, "text")
				e.Values[3].Type = featurestore.String
			}
			state.Fold(e)
			if n := len(state.AppendRow(nil)); n > most {
				t.Fatalf("a row takes %d bytes; the bound is %d", n, most)
			}
		}
	})
}

// TestBoundIsNear fills a row with the worst that there is: the bound must hold, and
// must not be far above.
func TestBoundIsNear(t *testing.T) {
	p, _ := compileTest(t)
	state := p.NewState()
	genre := featurestore.StringValue(string(bytes.Repeat([]byte("g"), CountedTextBytes)))
	genres := make([]featurestore.Value, CountedElements)
	for i := range genres {
		genres[i] = genre
	}
	for i := range int64(1300) {
		for _, stars := range []int64{math.MaxInt64, math.MinInt64, math.MaxInt64, math.MaxInt64} {
			state.Fold(&featurestore.Event{
				Position: featurestore.Position{
					Time: (1_700_000_000 + i) * second, Partition: math.MaxInt32, Offset: math.MaxInt64, Index: math.MaxInt32,
				},
				Values: []featurestore.Value{
					featurestore.IntValue(math.MaxInt64 - i), featurestore.IntValue(stars), featurestore.FloatValue(1e-9 * float64(stars)),
					genre, featurestore.ListValue(featurestore.String, genres),
				},
			})
		}
	}
	n, most := len(state.AppendRow(nil)), p.MaxRowBytes()
	if n > most || n < most/2 {
		t.Fatalf("the worst row takes %d bytes; the bound is %d", n, most)
	}
}

func TestKeysAreCountedAtTheirBound(t *testing.T) {
	source := &featurestore.Source{Fields: []featurestore.Field{
		{Name: "url", Type: featurestore.String, Required: true, KeyBytes: featurestore.MaxKeyBytes},
		{Name: "title", Type: featurestore.String},
	}}
	size := func(field string) int {
		p, err := Compile(&featurestore.View{Features: []featurestore.Feature{{Name: "f", Aggregate: "latest", Field: field}}}, source)
		if err != nil {
			t.Fatal(err)
		}
		return p.MaxRowBytes()
	}
	if got, want := size("url")-size("title"), featurestore.MaxKeyBytes-CountedTextBytes; got != want {
		t.Errorf("a key is counted %d bytes above other text, want %d", got, want)
	}
}

// TestRequiredFieldsChangeTheFingerprint: the count of a required field is shared
// with the count of events, so that the rows differ.
func TestRequiredFieldsChangeTheFingerprint(t *testing.T) {
	view := &featurestore.View{Features: []featurestore.Feature{{
		Name: "f", Aggregate: "mean", Field: "x", Type: featurestore.Float64,
		Windows: []featurestore.Window{featurestore.NewWindow(time.Hour)},
	}}}
	var fingerprints [2]uint64
	for i, required := range []bool{false, true} {
		p, err := Compile(view, &featurestore.Source{Fields: []featurestore.Field{{Name: "x", Type: featurestore.Float64, Required: required}}})
		if err != nil {
			t.Fatal(err)
		}
		fingerprints[i] = p.Fingerprint()
	}
	if fingerprints[0] == fingerprints[1] {
		t.Error("a field that becomes required keeps the rows of the view")
	}
}
