package statistics_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/statistics"
)

func cells(values ...featurestore.Value) []featurestore.Cell {
	list := make([]featurestore.Cell, len(values))
	for i, v := range values {
		list[i] = featurestore.Cell{Value: v, Status: featurestore.Present}
		if v.IsNull() {
			list[i].Status = featurestore.NotFound
		}
	}
	return list
}

func TestSummaries(t *testing.T) {
	var hundred []featurestore.Value
	for i := range 100 {
		hundred = append(hundred, featurestore.IntValue(int64((i*37)%100+1)))
	}
	s := statistics.Summarize(cells(append(hundred, featurestore.Value{}, featurestore.Value{})...))
	if s.Rows != 102 || s.Nulls != 2 || s.Distinct != 100 {
		t.Errorf("%+v", s)
	}
	n := s.Numbers
	if n.Mean != 50.5 || math.Abs(n.Deviation-math.Sqrt(9999.0/12)) > 1e-9 || n.Min != 1 || n.Max != 100 || n.Quantiles != [5]float64{1, 25, 50, 75, 99} {
		t.Errorf("%+v", n)
	}
	text := statistics.Summarize(cells(featurestore.StringValue("a"), featurestore.StringValue("b"), featurestore.StringValue("a")))
	if text.Rows != 3 || text.Distinct != 2 || text.Numbers != nil {
		t.Errorf("%+v", text)
	}
	if empty := statistics.Summarize(nil); empty != (statistics.Summary{}) {
		t.Errorf("%+v", empty)
	}
	if b := statistics.Summarize(cells(featurestore.BoolValue(true), featurestore.BoolValue(false))); b.Distinct != 2 || b.Numbers.Mean != 0.5 {
		t.Errorf("%+v", b)
	}
}

// psi is the index after the baseline was kept as JSON.
func psi(reference, current []featurestore.Cell) float64 {
	text, err := json.Marshal(statistics.NewBaseline(reference))
	if err != nil {
		panic(err)
	}
	var b statistics.Baseline
	if err := json.Unmarshal(text, &b); err != nil {
		panic(err)
	}
	return b.PSI(current)
}

// TestPSI: of the same distribution it is about 0, and it grows with a shift of the mean.
// For normal distributions of variance 1 and a shift d it is d² without cuts; deciles lose
// some of it.
func TestPSI(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	normal := func(shift float64) []featurestore.Cell {
		var values []featurestore.Value
		for range 20_000 {
			values = append(values, featurestore.FloatValue(random.NormFloat64()+shift))
		}
		return cells(values...)
	}
	reference := normal(0)
	for shift, want := range map[float64][2]float64{0: {0, 0.005}, 0.1: {0.005, 0.02}, 0.5: {0.18, 0.26}, 1: {0.7, 1.05}} {
		if got := psi(reference, normal(shift)); got < want[0] || got > want[1] {
			t.Errorf("shifted by %g it is %g, want %v", shift, got, want)
		}
	}
}

func TestPSIOfNullsAndTexts(t *testing.T) {
	a, b, none := featurestore.StringValue("a"), featurestore.StringValue("b"), featurestore.Value{}
	same := cells(a, b, none, a)
	if got := psi(same, same); got != 0 {
		t.Errorf("of the same: %g", got)
	}
	// ½ and ½ become ¼ and ¾: (¼−½)·ln ½ + (¾−½)·ln 3/2.
	want := 0.25*math.Log(2) + 0.25*math.Log(1.5)
	for name, pair := range map[string][2][]featurestore.Cell{
		"texts":         {cells(a, b), cells(a, b, b, b)},
		"nulls":         {cells(a, none), cells(a, none, none, none)},
		"nulls, number": {cells(featurestore.IntValue(1), none), cells(featurestore.IntValue(1), none, none, none)},
	} {
		if got := psi(pair[0], pair[1]); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %g, want %g", name, got, want)
		}
	}
	if got := psi(cells(a, a), cells(featurestore.StringValue("new"), featurestore.StringValue("new"))); got < 5 {
		t.Errorf("a text that was never there: %g", got)
	}
	if psi(nil, same) != 0 || psi(same, nil) != 0 {
		t.Error("of nothing")
	}
	if got := psi(cells(none, none), cells(featurestore.IntValue(1), featurestore.IntValue(2))); got < 5 {
		t.Errorf("values where there were none: %g", got)
	}
}
