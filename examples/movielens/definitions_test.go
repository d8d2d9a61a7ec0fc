// Package movielens_test keeps the example's definitions, the generated events and the
// decoder of records in step.
package movielens_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"go.uber.org/goleak"

	"github.com/onehop/onehop/examples/movielens/events"
	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/plan"
	"github.com/onehop/onehop/featurestore/stream"
	"github.com/onehop/onehop/internal/generate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T) *featurestore.Catalog {
	t.Helper()
	catalog, err := definition.Load("definitions")
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

// TestGeneratedRecordsFillEveryField decodes a generated record of each source by its
// definition: no field may stay null, or a view would be empty. Only the fields of
// genres may: few movies are of all.
func TestGeneratedRecordsFillEveryField(t *testing.T) {
	catalog := load(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro()
	gen := generate.New(generate.Options{Seed: 1})
	for source, record := range map[string][]byte{
		"ratings": gen.Next().AppendJSON(nil),
		"movies":  gen.Items()[0].AppendJSON(nil, at),
		"users":   gen.Users()[0].AppendJSON(nil, at),
	} {
		s := catalog.Source(source)
		if s == nil {
			t.Fatalf("there is no source %q", source)
		}
		decoder := stream.NewDecoder([]stream.Version{{Source: s}}, nil)
		stamp := time.UnixMicro(at)
		if source == "ratings" {
			stamp = time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
		}
		decoded, err := decoder.Decode(t.Context(), &kgo.Record{Value: record, Timestamp: stamp}, nil)
		if err != nil {
			t.Fatalf("%s: %s: %v", source, record, err)
		}
		for i, v := range decoded[0].Values {
			if v.IsNull() && !slices.Contains(events.Genres, s.Fields[i].Name) {
				t.Errorf("%s: %s leaves the field %q null", source, record, s.Fields[i].Name)
			}
		}
	}
}

// TestTheRankersColumnsAreNumbers: a model's input holds numbers only.
func TestTheRankersColumnsAreNumbers(t *testing.T) {
	catalog := load(t)
	programs, err := plan.Programs(catalog)
	if err != nil {
		t.Fatal(err)
	}
	service := catalog.Service(catalog.Model("movie_ranker").Service)
	compiled, err := plan.Compile(catalog, programs, service.Columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range compiled.Columns {
		if !c.Type.IsNumber() {
			t.Errorf("column %s is %s", c.Ref, c.Type)
		}
	}
	for _, view := range []string{"user_ratings", "movie_ratings"} {
		if n := len(catalog.View(view).Columns()); n < 12 {
			t.Errorf("view %q has %d columns, too few for an example", view, n)
		}
	}
}
