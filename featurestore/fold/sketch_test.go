package fold

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// one compiles a view of one feature over the test source.
func one(t testing.TB, f featurestore.Feature) (*Program, *Reader) {
	t.Helper()
	f.Name = "f"
	var err error
	if f.Type, err = Check(&f, testSource()); err != nil {
		t.Fatal(err)
	}
	return compileView(t, &featurestore.View{Features: []featurestore.Feature{f}})
}

const base = 1_700_000_000 * int64(1e6)

// priced is an event of a price at a time after base.
func priced(after time.Duration, offset int64, price float64) featurestore.Event {
	return featurestore.Event{
		Position: featurestore.Position{Time: base + after.Microseconds(), Offset: offset},
		Values:   []featurestore.Value{featurestore.IntValue(offset), {}, featurestore.FloatValue(price), {}, {}},
	}
}

// read is the first column of a state's row, a while after its newest event.
func read(t testing.TB, r *Reader, s *State, later time.Duration) featurestore.Cell {
	t.Helper()
	cells := make([]featurestore.Cell, r.cells)
	if err := r.Read(s.AppendRow(nil), s.Newest()+1+later.Microseconds(), cells); err != nil {
		t.Fatal(err)
	}
	return cells[0]
}

// TestDistinctIsExactAndThenClose: up to 256 values exactly, beyond within four standard
// errors, over tiles that share values; and the order of events leaves no trace.
func TestDistinctIsExactAndThenClose(t *testing.T) {
	p, r := one(t, featurestore.Feature{Aggregate: "distinct", Field: "user_id", Windows: []featurestore.Window{{Length: time.Hour, Hop: 15 * time.Minute}}})
	for _, n := range []int64{1, 100, 256, 257, 1000, 10_000, 200_000} {
		s, back := p.NewState(), p.NewState()
		event := func(i int64) *featurestore.Event {
			e := priced(time.Duration(i%3)*15*time.Minute, i, 0)
			e.Values[0] = featurestore.IntValue(i / 2 * 7)
			return &e
		}
		for i := range 2 * n {
			s.Fold(event(i))
			back.Fold(event(2*n - 1 - i))
			if i%5000 == 0 { // as rows are folded: from what was packed
				if err := s.Decode(s.AppendRow(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}
		got, bound := read(t, r, s, 0).Value.Int(), 0.0
		if n > 256 {
			bound = 4 * 1.04 / math.Sqrt(hllRegisters)
		}
		t.Logf("%d values: %d, off by %.2f %%", n, got, 100*math.Abs(float64(got-n))/float64(n))
		if math.Abs(float64(got-n)) > bound*float64(n) {
			t.Errorf("%d values are counted as %d", n, got)
		}
		if !bytes.Equal(s.AppendRow(nil), back.AppendRow(nil)) {
			t.Errorf("%d values: the order of events changed the row", n)
		}
	}
}

// TestQuantilesKeepTheirBound over values of several shapes, in tiles, whatever the order.
func TestQuantilesKeepTheirBound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"uniform":     func() float64 { return 50 + 100*random.Float64() },
		"exponential": func() float64 { return 1 + random.ExpFloat64() },
		"both signs":  func() float64 { return math.Copysign(1+random.Float64(), random.Float64()-0.5) },
		"whole":       func() float64 { return float64(random.IntN(5)) },
	} {
		for _, q := range []float64{0.01, 0.25, 0.5, 0.9, 0.99} {
			p, r := one(t, featurestore.Feature{Aggregate: "quantile", Field: "price", Q: q, Windows: []featurestore.Window{{Length: time.Hour, Hop: time.Minute}}})
			values := make([]float64, 5000)
			s, back := p.NewState(), p.NewState()
			for i := range values {
				values[i] = draw()
			}
			for i := range values {
				e := priced(time.Duration(i%60)*time.Minute, int64(i), values[i])
				s.Fold(&e)
				i = len(values) - 1 - i
				e = priced(time.Duration(i%60)*time.Minute, int64(i), values[i])
				back.Fold(&e)
			}
			if !bytes.Equal(s.AppendRow(nil), back.AppendRow(nil)) {
				t.Errorf("%s: the order of events changed the row", name)
			}
			got := read(t, r, s, 0).Value.Float()
			slices.Sort(values)
			want := values[int(q*float64(len(values)-1))]
			if math.Abs(got-want) > 0.016*math.Abs(want) {
				t.Errorf("%s: quantile %g is %g, not %g", name, q, got, want)
			}
		}
	}
}

// TestQuantilesOfAWideSpread: with more bins than a tile keeps, high quantiles keep the
// bound and the order of events still leaves no trace.
func TestQuantilesOfAWideSpread(t *testing.T) {
	p, r := one(t, featurestore.Feature{Aggregate: "quantile", Field: "price", Q: 0.9, Windows: []featurestore.Window{{}}})
	const n = 2000
	value := func(i int) float64 { return math.Exp2(float64(i) / 20) }
	s, back := p.NewState(), p.NewState()
	for i := range n {
		e := priced(0, int64(i), value(i))
		s.Fold(&e)
		e = priced(0, int64(n-1-i), value(n-1-i))
		back.Fold(&e)
	}
	if !bytes.Equal(s.AppendRow(nil), back.AppendRow(nil)) {
		t.Error("the order of events changed the row")
	}
	if got, want := read(t, r, s, 0).Value.Float(), value(n*9/10-1); math.Abs(got-want) > 0.016*want {
		t.Errorf("the quantile is %g, not %g", got, want)
	}
	if size := len(s.AppendRow(nil)); size > p.MaxRowBytes() {
		t.Errorf("%d bytes; the bound is %d", size, p.MaxRowBytes())
	}
}

// TestBinsCoverTheFloats: every float lies in its bin, and bins are in the order of floats.
func TestBinsCoverTheFloats(t *testing.T) {
	values := []float64{0, 1, 1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, 3.0e9, 1.03125, math.Nextafter(1.03125, 0)}
	for _, x := range values {
		for _, x := range []float64{x, -x} {
			if m := middle(binOf(x)); math.Abs(m-x) > 0.0155*math.Abs(x)+0x1p-1022 {
				t.Errorf("%g is in the bin of %g", x, m)
			}
			for _, y := range values {
				if x < y && binOf(x) > binOf(y) {
					t.Errorf("the bin of %g is after that of %g", x, y)
				}
			}
		}
	}
}

// TestVarianceFarFromZero: values that differ little and are large keep their variance.
func TestVarianceFarFromZero(t *testing.T) {
	p, r := one(t, featurestore.Feature{Aggregate: "var", Field: "price", Of: featurestore.Sample, Windows: []featurestore.Window{{Length: time.Hour, Hop: time.Minute}}})
	s := p.NewState()
	for i := range 3000 {
		e := priced(time.Duration(i)*time.Second, int64(i), 1e9+float64(i%3))
		s.Fold(&e)
	}
	want := 2.0 / 3 * 3000 / 2999 // of 0, 1, 2 again and again
	if got := read(t, r, s, 0).Value.Float(); math.Abs(got-want) > 1e-6 {
		t.Errorf("the variance is %v, not %v", got, want)
	}
}

// TestExactWindowsSayOverflow: a window that holds more events than are kept has no value,
// and has one again when it no longer reaches back to what was dropped.
func TestExactWindowsSayOverflow(t *testing.T) {
	p, r := one(t, featurestore.Feature{Aggregate: "sum", Field: "price", Exact: 3, Windows: []featurestore.Window{{Length: time.Minute}}})
	s := p.NewState()
	for i := range 5 {
		e := priced(time.Duration(i)*10*time.Second, int64(i), 1)
		s.Fold(&e)
	}
	for later, want := range map[time.Duration]string{
		0:                                   "OVERFLOW null",
		30*time.Second - 2*time.Microsecond: "OVERFLOW null", // the second event is dropped and 59.999999 s old
		30*time.Second + time.Microsecond:   "PRESENT 3",
		41 * time.Second:                    "PRESENT 2",
		2 * time.Minute:                     "NULL null",
	} {
		cell := read(t, r, s, later)
		if got := fmt.Sprint(cell.Status, " ", cell.Value); got != want {
			t.Errorf("%s later: %s, want %s", later, got, want)
		}
	}
}

// TestDecayForgetsNothingAtOnce: an event weighs half after its half life, and one a
// thousand half lives old weighs nothing without harm.
func TestDecayForgetsNothingAtOnce(t *testing.T) {
	p, r := one(t, featurestore.Feature{Aggregate: "decayed_sum", Field: "price", HalfLife: time.Hour})
	s := p.NewState()
	e := priced(0, 1, 8)
	s.Fold(&e)
	for later, want := range map[time.Duration]float64{0: 8, time.Hour: 4, 3 * time.Hour: 1, 90 * time.Minute: 8 * math.Exp2(-1.5)} {
		if got := read(t, r, s, later).Value.Float(); math.Abs(got-want) > 1e-7 {
			t.Errorf("after %s: %v, want %v", later, got, want)
		}
	}
	late := priced(-2000*time.Hour, 2, 1e300)
	s.Fold(&late)
	if got := read(t, r, s, 0).Value.Float(); math.Abs(got-8) > 1e-7 {
		t.Errorf("an event 2000 half lives old leaves %v of 8", got)
	}
	if got := read(t, r, s, 100_000*time.Hour); got.Status != featurestore.Present || got.Value.Float() != 0 {
		t.Errorf("after 100,000 half lives: %v", got)
	}
}
