package fold

import (
	"bytes"
	"math"
	"strconv"
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
	text := rapid.Map(rapid.IntRange(0, featurestore.KeptBytes), func(n int) featurestore.Value {
		return featurestore.BytesValue(bytes.Repeat([]byte("x"), n))
	})
	rapid.Check(t, func(t *rapid.T) {
		state.Reset()
		events := drawEvents(t)
		for i := range events {
			e := &events[i]
			e.Partition = rapid.Int32Range(-1, math.MaxInt32).Draw(t, "partition")
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

// TestBoundIsNear fills a row of each aggregate alone with the worst that there is: the
// bound must hold, and must not be far above.
func TestBoundIsNear(t *testing.T) {
	view := testView(t)
	for _, f := range view.Features {
		f.Where = ""
		if len(f.Windows) > 0 && f.Exact == 0 {
			f.Windows = []featurestore.Window{{Length: time.Minute, Hop: 10 * time.Second}}
		}
		t.Run(f.Name, func(t *testing.T) {
			p, _ := compileView(t, &featurestore.View{Features: []featurestore.Feature{f}})
			n, most := len(worstRow(p)), p.MaxRowBytes()
			t.Logf("%s: %d bytes of %d", f.Aggregate, n, most)
			least := most / 4
			if f.Name == "p9_stars" {
				least = 0 // integers reach few of the bins that floats do
			}
			if n > most || n < least {
				t.Fatalf("the worst row takes %d bytes; the bound is %d", n, most)
			}
		})
	}
}

// worstRow folds long texts, large numbers and many different values into a minute.
func worstRow(p *Program) []byte {
	state := p.NewState()
	genre := featurestore.StringValue(string(bytes.Repeat([]byte("g"), featurestore.KeptBytes)))
	genres := make([]featurestore.Value, featurestore.KeptElements)
	for i := range genres {
		genres[i] = genre
	}
	for i := range int64(66 * 50) {
		stars := math.MaxInt64 - i
		price := math.Ldexp(1+float64(i)/4096, int(i%1000)) // in another bin each
		title := bytes.Repeat([]byte("x"), featurestore.KeptBytes)
		copy(title, strconv.FormatInt(i, 10))
		for range 3 {
			state.Fold(&featurestore.Event{
				Position: featurestore.Position{
					Time: (1_700_000_000+i/50)*second + i%50, Partition: math.MaxInt32, Offset: math.MaxInt64, Index: math.MaxInt32,
				},
				Values: []featurestore.Value{
					featurestore.IntValue(math.MaxInt64 - i), featurestore.IntValue(stars), featurestore.FloatValue(price),
					{Type: featurestore.String, Bytes: title},
					featurestore.ListValue(featurestore.String, genres),
				},
			})
			stars = math.MinInt64 + i
		}
	}
	return state.AppendRow(nil)
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
	if got, want := size("url")-size("title"), featurestore.MaxKeyBytes-featurestore.KeptBytes; got != want {
		t.Errorf("a key is counted %d bytes above other text, want %d", got, want)
	}
}

// TestDistinctBoolsAreFew: a bool has two values, and no sketch of them becomes large.
func TestDistinctBoolsAreFew(t *testing.T) {
	source := &featurestore.Source{Fields: []featurestore.Field{{Name: "seen", Type: featurestore.Bool}}}
	view := &featurestore.View{Features: []featurestore.Feature{{
		Name: "f", Aggregate: "distinct", Field: "seen", Type: featurestore.Int64, Windows: []featurestore.Window{{Length: time.Hour, Hop: time.Minute}},
	}}}
	p, err := Compile(view, source)
	if err != nil {
		t.Fatal(err)
	}
	state := p.NewState()
	for i := range int64(62 * 60) {
		state.Fold(&featurestore.Event{Position: featurestore.Position{Time: (1_700_000_000 + i) * second}, Values: []featurestore.Value{featurestore.BoolValue(i%2 == 0)}})
	}
	if n, most := len(state.AppendRow(nil)), p.MaxRowBytes(); n > most || n < most/2 || most > 2000 {
		t.Errorf("a row of both values in each tile takes %d bytes; the bound is %d", n, most)
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
