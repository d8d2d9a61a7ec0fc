package training_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/training"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	second = int64(time.Second / time.Microsecond)
	base   = 1_700_000_000 * second
)

// features are one of every aggregate, over windows, rings and lifetimes.
func features() []featurestore.Feature {
	minute, ten := featurestore.NewWindow(time.Minute), featurestore.Window{Length: 10 * time.Minute, Hop: 10 * time.Second}
	windows := []featurestore.Window{minute, ten}
	const good = "stars > 1"
	return []featurestore.Feature{
		{Name: "latest", Aggregate: "latest", Field: "stars"},
		{Name: "title", Aggregate: "latest", Field: "title"},
		{Name: "good", Aggregate: "latest", Field: "title", Where: good},
		{Name: "first", Aggregate: "first", Field: "title"},
		{Name: "last", Aggregate: "last_n", Field: "stars", N: 3},
		{Name: "count", Aggregate: "count", Windows: windows},
		{Name: "ever", Aggregate: "count", Windows: []featurestore.Window{{}}},
		{Name: "sum", Aggregate: "sum", Field: "stars", Windows: windows},
		{Name: "mean", Aggregate: "mean", Field: "stars", Where: good, Windows: windows},
		{Name: "min", Aggregate: "min", Field: "stars", Windows: windows},
		{Name: "max", Aggregate: "max", Field: "stars", Windows: windows},
		{Name: "var", Aggregate: "var", Field: "stars", Of: featurestore.Sample, Windows: windows},
		{Name: "stddev", Aggregate: "stddev", Field: "stars", Of: featurestore.Population, Windows: windows},
		{Name: "distinct", Aggregate: "distinct", Field: "title", Windows: windows},
		{Name: "quantile", Aggregate: "quantile", Field: "stars", Q: 0.5, Windows: windows},
		{Name: "decayed", Aggregate: "decayed_count", HalfLife: time.Minute},
		{Name: "fading", Aggregate: "decayed_sum", Field: "stars", HalfLife: time.Hour},
		{Name: "exact", Aggregate: "count", Exact: 3, Windows: []featurestore.Window{{Length: time.Minute}}},
	}
}

func source(deletes bool) featurestore.Source {
	return featurestore.Source{
		Name: "ratings", MaxAge: 5 * time.Minute, MaxSkew: time.Minute, Deletes: deletes,
		Fields: []featurestore.Field{
			{Name: "id", Type: featurestore.String},
			{Name: "user_id", Type: featurestore.Int64, Required: true},
			{Name: "stars", Type: featurestore.Int64},
			{Name: "title", Type: featurestore.String},
		},
	}
}

// catalog has one view of the features.
func catalog(deletes bool, ttl time.Duration, dedupe featurestore.Dedupe, features []featurestore.Feature) (*featurestore.Catalog, error) {
	c := &featurestore.Catalog{
		Namespace: "test",
		Entities:  []featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "user_id", Type: featurestore.Int64}}}},
		Sources:   []featurestore.Source{source(deletes)},
		Views: []featurestore.View{{
			Name: "user", Entity: "user", Source: "ratings", JoinFields: []string{"user_id"}, TTL: ttl, Dedupe: dedupe, Features: features,
		}},
	}
	for i := range features {
		var err error
		if features[i].Type, err = fold.Check(&features[i], &c.Sources[0]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func drawCatalog(t *rapid.T) *featurestore.Catalog {
	chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(features()), 1, 6, func(f featurestore.Feature) string { return f.Name }).Draw(t, "features")
	var dedupe featurestore.Dedupe
	if rapid.IntRange(0, 3).Draw(t, "dedupe") == 0 {
		dedupe = featurestore.Dedupe{Field: "id", Last: 2}
	}
	ttl := rapid.SampledFrom([]time.Duration{0, 0, 30 * time.Second, 3 * time.Minute}).Draw(t, "ttl")
	c, err := catalog(rapid.IntRange(0, 3).Draw(t, "deletes") == 0, ttl, dedupe, chosen)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func drawEvents(t *rapid.T, deletes bool) memory {
	var events memory
	for i := range rapid.IntRange(0, 40).Draw(t, "events") {
		at := base + rapid.Int64Range(0, 1500).Draw(t, "at")*second
		e := featurestore.Event{
			Position: featurestore.Position{Time: at, Partition: rapid.Int32Range(0, 2).Draw(t, "partition"), Offset: int64(i)},
			// Some arrive late and some before their time.
			RecordTime: at + rapid.SampledFrom([]int64{0, 0, 1, second, 200 * second, -30 * second}).Draw(t, "arrives"),
			Values: []featurestore.Value{
				featurestore.StringValue(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id")),
				featurestore.IntValue(rapid.Int64Range(1, 3).Draw(t, "user")),
				featurestore.IntValue(rapid.Int64Range(-2, 5).Draw(t, "stars")),
				featurestore.StringValue(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "title")),
			},
		}
		if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			e.Values[2] = featurestore.Value{}
		}
		if deletes { // records are keyed by the entity
			e.Partition = int32(e.Values[1].Int())
		}
		if deletes && rapid.IntRange(0, 9).Draw(t, "delete") == 0 {
			e.Delete, e.Values[2], e.Values[3] = true, featurestore.Value{}, featurestore.Value{}
		}
		events = append(events, e)
	}
	return events
}

func drawSpine(t *rapid.T) *training.Spine {
	rows := rapid.IntRange(0, 12).Draw(t, "rows")
	s := &training.Spine{Keys: []training.Keys{{Parts: []plan.KeyColumn{{Ints: []int64{}}}}}}
	for range rows {
		s.Times = append(s.Times, base+rapid.Int64Range(-10, 2500).Draw(t, "t")*second+rapid.Int64Range(0, 1).Draw(t, "µs"))
		k := &s.Keys[0]
		k.Parts[0].Ints = append(k.Parts[0].Ints, rapid.Int64Range(1, 4).Draw(t, "key")) // nobody is user 4
		k.Null = append(k.Null, rapid.IntRange(0, 9).Draw(t, "no key") == 0)
	}
	return s
}

func newJoin(c *featurestore.Catalog) (*training.Join, *fold.Program, error) {
	programs, err := plan.Programs(c)
	if err != nil {
		return nil, nil, err
	}
	var refs []featurestore.Ref
	for _, column := range c.Views[0].Columns() {
		refs = append(refs, featurestore.Ref{View: "user", Column: column.Name})
	}
	p, err := plan.Compile(c, programs, refs)
	if err != nil {
		return nil, nil, err
	}
	return training.NewJoin(p, programs), programs["user"], nil
}

// naive is the answer of a loop over all events: those that a row sees, in the order of the
// log, folded into nothing and read.
func naive(t *rapid.T, j *training.Join, program *fold.Program, events memory, s *training.Spine, row int, available bool) []featurestore.Cell {
	cells := make([]featurestore.Cell, len(j.Plan().Columns))
	var packed []byte
	if !s.Keys[0].Null[row] {
		state := program.NewState()
		seen := slices.Clone(events)
		slices.SortStableFunc(seen, func(a, b featurestore.Event) int {
			return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
		})
		for i := range seen {
			e := &seen[i]
			if e.Values[1].Int() == s.Keys[0].Parts[0].Ints[row] && e.Time < s.Times[row] && (!available || e.RecordTime <= s.Times[row]) {
				state.Fold(e)
			}
		}
		if !state.Empty() {
			packed = state.AppendRow(nil)
		}
	}
	if err := j.Plan().Views[0].Reader.Read(packed, s.Times[row], cells); err != nil {
		t.Fatal(err)
	}
	return cells
}

// TestJoinIsANaiveLoop: for random definitions, events and spines.
func TestJoinIsANaiveLoop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCatalog(t)
		events, s := drawEvents(t, c.Sources[0].Deletes), drawSpine(t)
		available := rapid.Bool().Draw(t, "available")
		j, program, err := newJoin(c)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		a, err := j.Do(t.Context(), events, s, training.Options{Available: available, EventTimes: true, Progress: func(n int) { told += n }})
		if err != nil {
			t.Fatal(err)
		}
		if told != len(s.Times) {
			t.Errorf("told of %d rows of %d", told, len(s.Times))
		}
		for row := range s.Times {
			want := naive(t, j, program, events, s, row, available)
			for i := range want {
				if got := a.Columns[i].Cell(row); !same(got, want[i]) {
					t.Errorf("row %d, %s, by %s: %v, want %v", row, a.Columns[i].Ref, a.Views[0].Way, show(got), show(want[i]))
				}
			}
		}
	})
}

// same is equal, but for the last bits of float sums, which depend on the order of events.
func same(a, b featurestore.Cell) bool {
	if a.Value.Type == featurestore.Float64 && b.Value.Type == featurestore.Float64 && math.Abs(a.Value.Float()-b.Value.Float()) <= 1e-9 {
		a.Value = b.Value
	}
	return a.Status == b.Status && a.EventTime == b.EventTime && a.Value.Equal(b.Value)
}

func show(c featurestore.Cell) string { return fmt.Sprint(c.Status, " ", c.Value, " @", c.EventTime) }

// TestOrderOfTheSpineDoesNotMatter: neither shuffling a spine nor splitting it changes a row.
func TestOrderOfTheSpineDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCatalog(t)
		events, s := drawEvents(t, c.Sources[0].Deletes), drawSpine(t)
		j, _, err := newJoin(c)
		if err != nil {
			t.Fatal(err)
		}
		rows := make([]int, len(s.Times))
		for i := range rows {
			rows[i] = i
		}
		whole := joinRows(t, j, events, s, rows)
		shuffled := rapid.Permutation(rows).Draw(t, "order")
		cut := rapid.IntRange(0, len(rows)).Draw(t, "cut")
		parts := append(joinRows(t, j, events, s, shuffled[:cut]), joinRows(t, j, events, s, shuffled[cut:])...)
		for i, row := range shuffled {
			if parts[i] != whole[row] {
				t.Errorf("row %d is\n%s\nand alone\n%s", row, whole[row], parts[i])
			}
		}
	})
}

// joinRows joins some rows of a spine and shows each.
func joinRows(t *rapid.T, j *training.Join, events memory, s *training.Spine, rows []int) []string {
	part := &training.Spine{Keys: []training.Keys{{Parts: []plan.KeyColumn{{Ints: []int64{}}}}}}
	for _, row := range rows {
		part.Times = append(part.Times, s.Times[row])
		part.Keys[0].Parts[0].Ints = append(part.Keys[0].Parts[0].Ints, s.Keys[0].Parts[0].Ints[row])
		part.Keys[0].Null = append(part.Keys[0].Null, s.Keys[0].Null[row])
	}
	a, err := j.Do(t.Context(), events, part, training.Options{EventTimes: true})
	if err != nil {
		t.Fatal(err)
	}
	shown := make([]string, len(rows))
	for i := range rows {
		for c := range a.Columns {
			shown[i] += show(a.Columns[c].Cell(i)) + "\n"
		}
	}
	return shown
}
