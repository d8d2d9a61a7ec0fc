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

// BenchmarkFold folds one event into a packed row of that kind: unpack, fold, pack.
func BenchmarkFold(b *testing.B) {
	p, _ := compileTest(b)
	s := p.NewState()
	events := goldenEvents()
	for i := range events {
		s.Fold(&events[i])
	}
	row := s.AppendRow(nil)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Decode(row); err != nil {
			b.Fatal(err)
		}
		s.Fold(&events[3])
		row2 := s.AppendRow(nil)
		_ = row2
	}
}
