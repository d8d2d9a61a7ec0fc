package fold

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onehop/onehop/featurestore"
)

// inspected is a row of three events: one in each of two tiles, and one without stars.
func inspected(t *testing.T) (*Program, []byte) {
	t.Helper()
	view := &featurestore.View{
		Name: "user", Entity: "user", Source: "ratings", JoinFields: []string{"user_id"},
		Features: []featurestore.Feature{
			{Name: "title", Aggregate: "latest", Field: "title"},
			{Name: "last", Aggregate: "last_n", Field: "stars", N: 2},
			{Name: "rated", Aggregate: "sum", Field: "stars", Windows: []featurestore.Window{{Length: time.Minute, Hop: 10 * time.Second}}},
			{Name: "cheapest", Aggregate: "min", Field: "price", Windows: []featurestore.Window{{}}},
		},
	}
	p, err := Compile(view, testSource())
	if err != nil {
		t.Fatal(err)
	}
	s := p.NewState()
	event := func(at int64, offset int64, values ...featurestore.Value) {
		s.Fold(&featurestore.Event{Position: featurestore.Position{Time: at * second, Offset: offset}, Values: values})
	}
	null, title := featurestore.Value{}, featurestore.StringValue
	event(1005, 1, featurestore.IntValue(7), featurestore.IntValue(4), featurestore.FloatValue(2.5), title("a"), null)
	event(1021, 2, featurestore.IntValue(7), featurestore.IntValue(5), null, title("b"), null)
	event(1029, 3, featurestore.IntValue(7), null, null, title("c"), null)
	return p, s.AppendRow(nil)
}

func TestInspect(t *testing.T) {
	p, row := inspected(t)
	got, err := p.Inspect(row)
	if err != nil {
		t.Fatal(err)
	}
	number := featurestore.IntValue
	at := func(t, offset int64) featurestore.Position {
		return featurestore.Position{Time: t * second, Offset: offset}
	}
	want := &Inspection{
		Newest: at(1029, 3), Stamp: Stamp(row), Fingerprint: p.Fingerprint(),
		Kept: []KeptInspection{
			{Feature: "title", Aggregate: "latest", Entries: []KeptEntry{{Value: featurestore.StringValue("c")}}},
			{Feature: "last", Aggregate: "last_n", Entries: []KeptEntry{{Value: number(5), At: at(1021, 2)}, {Value: number(4), At: at(1005, 1)}}},
		},
		Tiles: []TilesInspection{
			{Partials: []string{"count(price)", "min(price)"}, Tiles: []TileInspection{{Values: []featurestore.Value{number(1), featurestore.FloatValue(2.5)}}}},
			{
				Hop: 10 * time.Second, Longest: featurestore.Window{Length: time.Minute, Hop: 10 * time.Second},
				Partials: []string{"count(stars)", "sum(stars)"},
				Tiles: []TileInspection{
					{Start: 1000 * second, Values: []featurestore.Value{number(1), number(4)}},
					{Start: 1020 * second, Values: []featurestore.Value{number(1), number(5)}},
				},
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever an aggregate keeps must have a name and be shown.
func TestInspectKnowsEveryAggregate(t *testing.T) {
	p, _ := compileTest(t)
	for _, set := range p.sets {
		for i, column := range newPartials(set.specs) {
			_, ok := column.(interface {
				inspect(i int) featurestore.Value
			})
			if !ok || partialNames[set.specs[i].kind] == "" {
				t.Errorf("%T of kind %d cannot be inspected", column, set.specs[i].kind)
			}
		}
	}
}

func TestInspectRefusesDamage(t *testing.T) {
	p, row := inspected(t)
	row[len(row)-1] ^= 1
	if _, err := p.Inspect(row); err == nil {
		t.Error("a damaged row was inspected")
	}
}
