package fold

import (
	"time"

	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
)

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
				Partition: rapid.Int32Range(-1, 2).Draw(t, "partition"),
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
