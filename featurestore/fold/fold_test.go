package fold

import (
	"bytes"
	gocmp "cmp"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const second = int64(time.Second / time.Microsecond)

// testSource and testView use every aggregate, with windows that share a hop and
// windows that do not.
func testSource() *featurestore.Source {
	return &featurestore.Source{
		Name: "ratings", MaxAge: featurestore.DefaultMaxAge, MaxSkew: featurestore.DefaultMaxSkew,
		Fields: []featurestore.Field{
			{Name: "user_id", Type: featurestore.Int64, Required: true},
			{Name: "stars", Type: featurestore.Int64},
			{Name: "price", Type: featurestore.Float64},
			{Name: "title", Type: featurestore.String},
			{Name: "genres", Type: featurestore.ListOf(featurestore.String)},
		},
	}
}

func testView(t interface{ Fatal(...any) }) *featurestore.View {
	minute := featurestore.NewWindow(time.Minute)
	tenMinutes := featurestore.Window{Length: 10 * time.Minute, Hop: 10 * time.Second}
	shared := featurestore.Window{Length: 2 * time.Minute, Hop: 10 * time.Second}
	windows := []featurestore.Window{minute, tenMinutes, shared, {}}
	view := &featurestore.View{
		Name: "user", Entity: "user", Source: "ratings", JoinFields: []string{"user_id"},
		Features: []featurestore.Feature{
			{Name: "title", Aggregate: "latest", Field: "title"},
			{Name: "genres", Aggregate: "latest", Field: "genres"},
			{Name: "price", Aggregate: "latest", Field: "price"},
			{Name: "count", Aggregate: "count", Windows: windows},
			{Name: "rated", Aggregate: "count", Field: "stars", Windows: windows},
			{Name: "stars", Aggregate: "sum", Field: "stars", Windows: windows},
			{Name: "spent", Aggregate: "sum", Field: "price", Windows: windows},
			{Name: "mean_stars", Aggregate: "mean", Field: "stars", Windows: windows},
			{Name: "mean_price", Aggregate: "mean", Field: "price", Windows: windows},
			{Name: "min_stars", Aggregate: "min", Field: "stars", Windows: windows},
			{Name: "max_price", Aggregate: "max", Field: "price", Windows: windows},
			{Name: "min_user", Aggregate: "min", Field: "user_id", Windows: windows},
			{Name: "last", Aggregate: "last_n", Field: "stars", N: 3},
			{Name: "last_title", Aggregate: "last_n", Field: "title", N: 2, Windows: []featurestore.Window{minute}},
			{Name: "var_stars", Aggregate: "var", Field: "stars", Of: featurestore.Sample, Windows: windows},
			{Name: "dev_price", Aggregate: "stddev", Field: "price", Of: featurestore.Population, Windows: windows},
			{Name: "titles", Aggregate: "distinct", Field: "title", Windows: windows},
			{Name: "users", Aggregate: "distinct", Field: "user_id", Where: good, Windows: windows},
			{Name: "median", Aggregate: "quantile", Field: "price", Q: 0.5, Windows: windows},
			{Name: "p9_stars", Aggregate: "quantile", Field: "stars", Q: 0.9, Windows: windows},
			{Name: "first_title", Aggregate: "first", Field: "title"},
			{Name: "first_good", Aggregate: "first", Field: "price", Where: good},
			{Name: "latest_good", Aggregate: "latest", Field: "title", Where: good},
			{Name: "latest_good_user", Aggregate: "latest", Field: "user_id", Where: good},
			{Name: "good", Aggregate: "count", Where: good, Windows: windows},
			{Name: "spent_good", Aggregate: "sum", Field: "price", Where: good, Windows: windows},
			{Name: "max_good", Aggregate: "max", Field: "price", Where: good, Windows: windows},
			{Name: "last_good", Aggregate: "last_n", Field: "stars", N: 4, Where: good},
			{Name: "fading", Aggregate: "decayed_sum", Field: "price", HalfLife: 90 * time.Second},
			{Name: "fading_count", Aggregate: "decayed_count", HalfLife: time.Hour},
			{Name: "fading_good", Aggregate: "decayed_count", Field: "stars", Where: good, HalfLife: 7 * time.Second},
		},
	}
	exact := []featurestore.Window{{Length: 90 * time.Second}, {Length: 7 * time.Minute}}
	for _, f := range []featurestore.Feature{
		{Aggregate: "count"},
		{Aggregate: "sum", Field: "stars"},
		{Aggregate: "mean", Field: "price"},
		{Aggregate: "min", Field: "stars"},
		{Aggregate: "var", Field: "price", Of: featurestore.Population},
		{Aggregate: "distinct", Field: "title", Where: good},
		{Aggregate: "quantile", Field: "price", Q: 0.25},
	} {
		f.Name, f.Exact, f.Windows = "exact_"+f.Aggregate+"_"+f.Field, 7, exact
		view.Features = append(view.Features, f)
	}
	for i := range view.Features {
		typ, err := Check(&view.Features[i], testSource())
		if err != nil {
			t.Fatal(err)
		}
		view.Features[i].Type = typ
	}
	return view
}

// good is the condition of the test view, and isGood the same in Go.
const good = "stars > 1 && price != null"

func isGood(e *featurestore.Event) bool {
	return !e.Values[1].IsNull() && e.Values[1].Int() > 1 && !e.Values[2].IsNull()
}

func compileTest(t interface{ Fatal(...any) }) (*Program, *Reader) {
	return compileView(t, testView(t))
}

func compileView(t interface{ Fatal(...any) }, view *featurestore.View) (*Program, *Reader) {
	p, err := Compile(view, testSource())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range p.view.Columns() {
		names = append(names, c.Name)
	}
	r, err := p.Reader(names)
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

func nullOr(g *rapid.Generator[featurestore.Value]) *rapid.Generator[featurestore.Value] {
	return rapid.OneOf(g, g, rapid.Just(featurestore.Value{}))
}

// drawEvents draws events within twenty minutes, many of them at equal times.
func drawEvents(t *rapid.T) []featurestore.Event {
	stars := nullOr(rapid.Map(rapid.OneOf(rapid.Int64Range(-3, 5), rapid.Int64()), featurestore.IntValue))
	price := nullOr(rapid.Map(rapid.OneOf(
		rapid.Map(rapid.IntRange(-2, 300), func(i int) float64 { return float64(i) }),
		rapid.Float64Range(-1e9, 1e9)), featurestore.FloatValue))
	title := nullOr(rapid.Map(rapid.StringN(0, 6, 20), featurestore.StringValue))
	genres := nullOr(rapid.Map(rapid.SliceOfN(rapid.Map(rapid.StringN(0, 3, 8), featurestore.StringValue), 0, 3),
		func(l []featurestore.Value) featurestore.Value { return featurestore.ListValue(featurestore.String, l) }))
	n := rapid.IntRange(1, 60).Draw(t, "events")
	events := make([]featurestore.Event, n)
	const base = 1_700_000_000
	for i := range events {
		events[i] = featurestore.Event{
			Position: featurestore.Position{
				Time:      (base + rapid.Int64Range(0, 1200).Draw(t, "second")) * second,
				Partition: rapid.Int32Range(0, 2).Draw(t, "partition"),
				Offset:    int64(i),
			},
			Values: []featurestore.Value{
				featurestore.IntValue(rapid.Int64Range(1, 9).Draw(t, "user")),
				stars.Draw(t, "stars"), price.Draw(t, "price"), title.Draw(t, "title"), genres.Draw(t, "genres"),
			},
		}
	}
	return events
}

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

// oracle computes a column from all events, by the words of the definition.
func oracle(view *featurestore.View, c featurestore.Column, source *featurestore.Source, events []featurestore.Event, at int64) any {
	f := view.Features[c.Feature]
	start := int64(math.MinInt64)
	if c.Window >= 0 && f.Windows[c.Window].Length != featurestore.Lifetime {
		w := f.Windows[c.Window]
		hop := w.Hop.Microseconds()
		start = (at - w.Length.Microseconds()) / max(hop, 1) * max(hop, 1)
	}
	sorted := slices.Clone(events)
	slices.SortFunc(sorted, func(a, b featurestore.Event) int { return a.Compare(b.Position) })
	if f.Where != "" {
		sorted = slices.DeleteFunc(sorted, func(e featurestore.Event) bool { return !isGood(&e) })
	}
	field := source.Field(f.Field)
	switch {
	case f.Aggregate == "latest" || f.Aggregate == "first":
		if len(sorted) == 0 {
			return featurestore.Value{}
		}
		if f.Aggregate == "first" {
			return sorted[0].Values[field]
		}
		return sorted[len(sorted)-1].Values[field]
	case f.HalfLife > 0:
		return oracleDecayed(&f, field, sorted, at)
	}
	if f.Exact > 0 {
		start = at - f.Windows[c.Window].Length.Microseconds()
		sorted = slices.DeleteFunc(sorted, func(e featurestore.Event) bool { return valueOf(&e, field).IsNull() })
		if n := len(sorted) - f.Exact; n > 0 && sorted[n-1].Time >= start {
			return featurestore.Value{} // overflow has no value
		}
	}
	var values []featurestore.Value
	for _, e := range sorted {
		if e.Time < start || e.Time >= at {
			continue
		}
		if v := valueOf(&e, field); !v.IsNull() {
			values = append(values, *v)
		}
	}
	return oracleAggregate(f, values)
}

func oracleDecayed(f *featurestore.Feature, field int, events []featurestore.Event, at int64) any {
	total, some := 0.0, f.Aggregate == "decayed_count"
	for i := range events {
		v := valueOf(&events[i], field)
		if v.IsNull() {
			continue
		}
		x := 1.0
		if f.Aggregate == "decayed_sum" {
			x, _ = v.Number()
		}
		total += x * math.Exp2(-float64(at-events[i].Time)/float64(f.HalfLife.Microseconds()))
		some = true
	}
	if !some {
		return featurestore.Value{}
	}
	return total
}

func oracleAggregate(f featurestore.Feature, values []featurestore.Value) any {
	number := func(v featurestore.Value) float64 { n, _ := v.Number(); return n }
	byNumber := func(a, b featurestore.Value) int {
		if a.Type == featurestore.Int64 {
			return gocmp.Compare(a.Int(), b.Int())
		}
		return gocmp.Compare(a.Float(), b.Float())
	}
	switch {
	case f.Aggregate == "count":
		return featurestore.IntValue(int64(len(values)))
	case f.Aggregate == "distinct":
		different := map[string]bool{}
		for _, v := range values {
			different[v.String()] = true
		}
		return featurestore.IntValue(int64(len(different)))
	case f.Aggregate == "last_n":
		slices.Reverse(values)
		elem := featurestore.Int64
		if f.Field == "title" {
			elem = featurestore.String
		}
		return featurestore.ListValue(elem, values[:min(len(values), f.N)])
	case len(values) == 0:
		return featurestore.Value{}
	case f.Aggregate == "min":
		return slices.MinFunc(values, byNumber)
	case f.Aggregate == "max":
		return slices.MaxFunc(values, byNumber)
	case f.Aggregate == "quantile":
		slices.SortFunc(values, byNumber)
		return number(values[int(f.Q*float64(len(values)-1))])
	case f.Of != "":
		return oracleVariance(&f, values)
	}
	var total wide
	sum := 0.0
	for _, v := range values {
		if v.Type == featurestore.Int64 {
			total = total.add(wideOf(v.Int()))
		}
		sum += number(v)
	}
	if f.Aggregate == "mean" && values[0].Type == featurestore.Int64 {
		return total.float() / float64(len(values))
	}
	if f.Aggregate == "mean" {
		return sum / float64(len(values))
	}
	if f.Type == featurestore.Float64 {
		return sum
	}
	if v, ok := total.int(); ok {
		return featurestore.IntValue(v)
	}
	return featurestore.Value{} // overflow has no value
}

// oracleVariance is the variance in two passes, with more digits than the fold has.
func oracleVariance(f *featurestore.Feature, values []featurestore.Value) any {
	degrees := len(values)
	if f.Of == featurestore.Sample {
		degrees--
	}
	if degrees == 0 {
		return featurestore.Value{}
	}
	mean, squares := new(big.Float).SetPrec(300), new(big.Float).SetPrec(300)
	exact := func(v featurestore.Value) *big.Float {
		if v.Type == featurestore.Int64 {
			return new(big.Float).SetPrec(300).SetInt64(v.Int())
		}
		return new(big.Float).SetPrec(300).SetFloat64(v.Float())
	}
	for _, v := range values {
		mean.Add(mean, exact(v))
	}
	mean.Quo(mean, big.NewFloat(float64(len(values))))
	for _, v := range values {
		d := new(big.Float).Sub(exact(v), mean)
		squares.Add(squares, d.Mul(d, d))
	}
	variance, _ := squares.Quo(squares, big.NewFloat(float64(degrees))).Float64()
	if f.Aggregate == "stddev" {
		return math.Sqrt(variance)
	}
	return variance
}

// agrees compares exactly, but for what is computed with floats. Sums and means must be
// within 1e-12 of Σ|x|, and the oracle's own naive sum is as far off as that; a variance
// within 1e-12 of the greatest square; a quantile within its bound of 1.6 %.
func agrees(f *featurestore.Feature, got featurestore.Value, want any, events []featurestore.Event) bool {
	switch want := want.(type) {
	case featurestore.Value:
		return got.Equal(want) || got.Type == want.Type && got.Type == featurestore.Float64 && got.Float() == want.Float() // 0 is −0
	case float64:
		sum, greatest := magnitude(f, events)
		x := got.Float()
		switch {
		case got.IsNull():
			return false
		case f.Aggregate == "stddev":
			return math.Abs(x*x-want*want) <= 1e-12*greatest*greatest
		case f.Aggregate == "var":
			return math.Abs(x-want) <= 1e-12*greatest*greatest
		case f.Aggregate == "quantile" && f.Exact == 0:
			return math.Abs(x-want) <= 0.016*math.Abs(want)+math.SmallestNonzeroFloat64*(1<<52)
		default:
			return math.Abs(x-want) <= 1e-12*sum
		}
	}
	return false
}

// magnitude is Σ|x| and the greatest |x| of the values of a feature's field.
func magnitude(f *featurestore.Feature, events []featurestore.Event) (sum, greatest float64) {
	field := testSource().Field(f.Field)
	for i := range events {
		x := 1.0
		if field >= 0 && f.Aggregate != "decayed_count" {
			x, _ = events[i].Values[field].Number()
		}
		sum += math.Abs(x)
		greatest = max(greatest, math.Abs(x))
	}
	return sum, greatest
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
