package fold

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFoldEqualsOracle folds events in a drawn order, packing and unpacking the row
// at drawn moments, and compares every column with an oracle that keeps all events.
func TestFoldEqualsOracle(t *testing.T) {
	p, r := compileTest(t)
	state := p.NewState()
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		order := rapid.Permutation(events).Draw(t, "order")
		state.Reset()
		for i := range order {
			state.Fold(&order[i])
			if rapid.Bool().Draw(t, "repack") {
				if err := state.Decode(state.AppendRow(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		row := state.AppendRow(nil)
		at := state.Newest() + 1 + rapid.Int64Range(0, 700*second).Draw(t, "later")
		cells := make([]featurestore.Cell, len(r.program.outputs))
		if err := r.Read(row, at, cells); err != nil {
			t.Fatal(err)
		}
		for i, c := range p.view.Columns() {
			want := oracle(p.view, c, testSource(), events, at)
			if !agrees(&p.view.Features[c.Feature], cells[i].Value, want, events) {
				t.Fatalf("%s at %d: got %v %v, want %v", c.Name, at, cells[i].Status, cells[i].Value, want)
			}
		}
	})
}

// TestRowIsAFunctionOfTheSetOfEvents folds the same events in two orders. Without sums of
// floats the rows are equal byte for byte.
func TestRowIsAFunctionOfTheSetOfEvents(t *testing.T) {
	view := testView(t)
	view.Features = slices.DeleteFunc(view.Features, func(f featurestore.Feature) bool {
		return f.HalfLife > 0 || f.Of != "" && f.Exact == 0
	})
	p, _ := compileView(t, view)
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		for i := range events {
			if price := &events[i].Values[2]; !price.IsNull() {
				*price = featurestore.FloatValue(math.Round(price.Float())) // sums are exact
			}
		}
		a, b := p.NewState(), p.NewState()
		for i := range events {
			a.Fold(&events[i])
		}
		other := rapid.Permutation(events).Draw(t, "order")
		for i := range other {
			b.Fold(&other[i])
		}
		if x, y := a.AppendRow(nil), b.AppendRow(nil); !bytes.Equal(x, y) {
			one, _ := p.Inspect(x)
			two, _ := p.Inspect(y)
			t.Fatalf("the order of events changed the row: %s", cmp.Diff(one, two))
		}
	})
}

func TestEmptyAndUnknownEntities(t *testing.T) {
	p, r := compileTest(t)
	cells := make([]featurestore.Cell, len(p.outputs))
	if err := r.Read(nil, 1, cells); err != nil {
		t.Fatal(err)
	}
	for i := range cells {
		if cells[i].Status != featurestore.NotFound || !cells[i].Value.IsNull() {
			t.Fatalf("cell %d of a missing row: %+v", i, cells[i])
		}
	}
}

func TestExpiryAndRetention(t *testing.T) {
	source := testSource()
	view := &featurestore.View{
		Name: "v", TTL: time.Hour, JoinFields: []string{"user_id"},
		Features: []featurestore.Feature{
			{Name: "n", Aggregate: "count", Windows: []featurestore.Window{featurestore.NewWindow(2 * time.Hour)}, Type: featurestore.Int64},
		},
	}
	p, err := Compile(view, source)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Reader([]string{"n_2h"})
	if err != nil {
		t.Fatal(err)
	}
	state := p.NewState()
	const at = 1_700_000_000 * int64(1e6)
	state.Fold(&featurestore.Event{Position: featurestore.Position{Time: at}, Values: make([]featurestore.Value, 5)})
	row := state.AppendRow(nil)
	for _, c := range []struct {
		after time.Duration
		want  featurestore.Status
	}{
		{time.Microsecond, featurestore.Present},
		{time.Hour, featurestore.Present},
		{time.Hour + time.Microsecond, featurestore.Expired},
		{2*time.Hour + time.Minute + source.MaxAge, featurestore.Expired},
		{2*time.Hour + time.Minute + source.MaxAge + time.Microsecond, featurestore.NotFound},
	} {
		cells := make([]featurestore.Cell, 1)
		if err := r.Read(row, at+c.after.Microseconds(), cells); err != nil {
			t.Fatal(err)
		}
		if cells[0].Status != c.want {
			t.Errorf("%s after the newest event: %s, want %s", c.after, cells[0].Status, c.want)
		}
		if cells[0].Status != featurestore.Present && !cells[0].Value.IsNull() {
			t.Errorf("%s after: status %s carries the value %s", c.after, cells[0].Status, cells[0].Value)
		}
	}
}
