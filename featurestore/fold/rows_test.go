package fold_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/internal/generate"
)

func compile(t *testing.T, source *featurestore.Source, features []featurestore.Feature) *fold.Program {
	t.Helper()
	for i := range features {
		var err error
		if features[i].Type, err = fold.Check(&features[i], source); err != nil {
			t.Fatal(err)
		}
	}
	p, err := fold.Compile(&featurestore.View{Features: features}, source)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRowsOfFiftyLatestValues(t *testing.T) {
	source, features, event := generate.Profile()
	s := compile(t, source, features).NewState()
	s.Fold(&event)
	n := len(s.AppendRow(nil))
	t.Logf("a row of 50 numeric latest features takes %d bytes", n)
	if n > 300 {
		t.Errorf("%d bytes; at most 300 are promised", n)
	}
}

// TestRowsOfTenWindowedFeatures folds the generator's stream of a week into a row of each
// user.
func TestRowsOfTenWindowedFeatures(t *testing.T) {
	source := &featurestore.Source{Fields: []featurestore.Field{{Name: "movie_id", Type: featurestore.Int64, Required: true}, {Name: "rating", Type: featurestore.Float64, Required: true}}}
	windows := []featurestore.Window{featurestore.NewWindow(time.Hour), featurestore.NewWindow(24 * time.Hour), featurestore.NewWindow(7 * 24 * time.Hour)}
	var features []featurestore.Feature
	for _, f := range []featurestore.Feature{
		{Aggregate: "count"},
		{Aggregate: "sum", Field: "rating"},
		{Aggregate: "mean", Field: "rating"},
		{Aggregate: "min", Field: "rating"},
		{Aggregate: "max", Field: "rating"},
		{Aggregate: "var", Of: featurestore.Sample, Field: "rating"},
		{Aggregate: "stddev", Of: featurestore.Population, Field: "rating"},
		{Aggregate: "max", Field: "movie_id"},
		{Aggregate: "min", Field: "movie_id"},
		{Aggregate: "count", Where: "rating >= 4.0"},
	} {
		f.Name, f.Windows = fmt.Sprintf("f%d", len(features)), windows
		features = append(features, f)
	}
	p := compile(t, source, features)
	rows := map[int64]*fold.State{}
	const events, users = 200_000, 4_000
	g := generate.New(generate.Options{Seed: 3, Users: users, Items: 2_000, Rate: events / (7 * 86400.0), Start: time.Unix(1_700_000_000, 0), Late: .02})
	for i := range int64(events) {
		e := g.Next()
		if rows[e.UserID] == nil {
			rows[e.UserID] = p.NewState()
		}
		rows[e.UserID].Fold(&featurestore.Event{
			Position: featurestore.Position{Time: e.Time, Offset: i},
			Values:   []featurestore.Value{featurestore.IntValue(e.ItemID), featurestore.FloatValue(e.Rating)},
		})
	}
	total, largest := 0, 0
	for _, s := range rows {
		n := len(s.AppendRow(nil))
		total, largest = total+n, max(largest, n)
	}
	mean := total / len(rows)
	t.Logf("%d rows of 10 features × 3 windows: %d bytes on average, %d at most, %d in the worst case", len(rows), mean, largest, p.MaxRowBytes())
	if mean > 1536 {
		t.Errorf("%d bytes on average; 1,536 are promised", mean)
	}
}
