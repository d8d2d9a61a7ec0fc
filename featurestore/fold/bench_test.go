package fold

import (
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
)

// BenchmarkRead reads twelve windows of four aggregates over twenty tiles each.
func BenchmarkRead(b *testing.B) {
	var windows []featurestore.Window
	for _, hop := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
		windows = append(windows, featurestore.Window{Length: 20 * hop, Hop: hop})
	}
	source := &featurestore.Source{Name: "s", Fields: []featurestore.Field{{Name: "x", Type: featurestore.Float64, Required: true}}}
	view := &featurestore.View{Name: "v"}
	for _, agg := range []string{"count", "mean", "min", "max"} {
		f := featurestore.Feature{Name: agg, Aggregate: agg, Windows: windows}
		if agg != "count" {
			f.Field = "x"
		}
		view.Features = append(view.Features, f)
	}
	p, err := Compile(view, source)
	if err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, c := range view.Columns() {
		names = append(names, c.Name)
	}
	r, err := p.Reader(names)
	if err != nil {
		b.Fatal(err)
	}
	s := p.NewState()
	const start = int64(1_700_000_000_000_000)
	for i := range int64(300) {
		s.Fold(&featurestore.Event{
			Position: featurestore.Position{Time: start + i*60*second, Offset: i},
			Values:   []featurestore.Value{featurestore.FloatValue(float64(1 + i%5))},
		})
	}
	row := s.AppendRow(nil)
	cells := make([]featurestore.Cell, len(names))
	b.ReportMetric(float64(len(row)), "row-bytes")
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Read(row, s.Newest()+1, cells); err != nil {
			b.Fatal(err)
		}
	}
}

// tenAggregates is a view of ten numeric aggregates over three windows each, and a row of it
// that has seen events over the longest.
func tenAggregates(t testing.TB) (*State, featurestore.Event) {
	t.Helper()
	windows := []featurestore.Window{featurestore.NewWindow(time.Hour), featurestore.NewWindow(24 * time.Hour), featurestore.NewWindow(7 * 24 * time.Hour)}
	view := &featurestore.View{}
	for _, f := range []featurestore.Feature{
		{Aggregate: "count"},
		{Aggregate: "sum", Field: "price"},
		{Aggregate: "mean", Field: "price"},
		{Aggregate: "min", Field: "price"},
		{Aggregate: "max", Field: "price"},
		{Aggregate: "var", Field: "price", Of: featurestore.Sample},
		{Aggregate: "stddev", Field: "price", Of: featurestore.Population},
		{Aggregate: "sum", Field: "stars"},
		{Aggregate: "min", Field: "stars"},
		{Aggregate: "max", Field: "stars"},
	} {
		f.Name, f.Windows = f.Aggregate+"_"+f.Field, windows
		view.Features = append(view.Features, f)
	}
	p, _ := compileView(t, view)
	s := p.NewState()
	e := priced(0, 0, 9.5)
	e.Values[1] = featurestore.IntValue(4)
	for i := range int64(7 * 24 * 4) {
		e.Time, e.Offset = base+i*900*second, i
		s.Fold(&e)
	}
	return s, e
}

// BenchmarkFold folds one event into an open row of ten aggregates over three windows.
func BenchmarkFold(b *testing.B) {
	s, e := tenAggregates(b)
	b.ReportAllocs()
	for b.Loop() {
		e.Offset++
		e.Time += 1000
		s.Fold(&e)
	}
}

// BenchmarkRow folds one event into such a row as a batch does: unpack, fold, pack.
func BenchmarkRow(b *testing.B) {
	s, e := tenAggregates(b)
	row := s.AppendRow(nil)
	b.ReportMetric(float64(len(row)), "row-bytes")
	packed := make([]byte, 0, 2*len(row))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Decode(row); err != nil {
			b.Fatal(err)
		}
		s.Fold(&e)
		packed = s.AppendRow(packed[:0])
	}
}
