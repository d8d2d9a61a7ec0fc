package registry

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func catalog(namespace string, change func(*featurestore.Catalog)) *featurestore.Catalog {
	c := &featurestore.Catalog{
		Namespace: namespace,
		Entities:  []featurestore.Entity{{Name: "user", Keys: []featurestore.JoinKey{{Name: "id", Type: featurestore.Int64}}}},
		Sources: []featurestore.Source{{Name: "s", Topic: "t", MaxAge: time.Hour, Fields: []featurestore.Field{
			{Name: "id", Type: featurestore.Int64, Required: true}, {Name: "x", Type: featurestore.Float64},
		}}},
		Views: []featurestore.View{{Name: "v", Entity: "user", Source: "s", JoinFields: []string{"id"}, Features: []featurestore.Feature{
			{Name: "x", Aggregate: "latest", Field: "x", Type: featurestore.Float64},
		}}},
	}
	if change != nil {
		change(c)
	}
	return c
}

func moreFeatures(c *featurestore.Catalog) {
	c.Views[0].Features = append(c.Views[0].Features, featurestore.Feature{
		Name: "n", Aggregate: "count", Windows: []featurestore.Window{featurestore.NewWindow(time.Hour)}, Type: featurestore.Int64,
	})
}

func moreOnDemand(expression string) func(*featurestore.Catalog) {
	return func(c *featurestore.Catalog) {
		c.OnDemand = []featurestore.OnDemand{{Name: "d", Request: []featurestore.Field{{Name: "k", Type: featurestore.Int64}}, Features: []featurestore.Expression{
			{Name: "y", Expression: expression, Type: featurestore.Float64, Inputs: []featurestore.Ref{{View: "v", Column: "x"}}},
		}}}
	}
}

// TestGenerations follows a view through versions: what changes its state needs a new
// generation, what does not keeps the old one, and what was there before is gone on with.
func TestGenerations(t *testing.T) {
	var versions []*featurestore.Catalog
	for i, step := range []struct {
		name   string
		change func(*featurestore.Catalog)
		want   int
	}{
		{"first", nil, 1},
		{"a description", func(c *featurestore.Catalog) { c.Views[0].Features[0].Description = "new" }, 1},
		{"a TTL", func(c *featurestore.Catalog) { c.Views[0].TTL = time.Hour }, 1},
		{"a group of on-demand features", moreOnDemand("v.x + 1.0"), 1},
		{"another expression", moreOnDemand("v.x + 2.0"), 1},
		{"another feature", moreFeatures, 2},
		{"back again", nil, 1},
		{"and forth", moreFeatures, 2},
	} {
		next, err := Next(versions, catalog("n", step.change))
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := next.Views[0].Generation; got != step.want || next.Version != i+1 {
			t.Errorf("%s: version %d, generation %d; want %d, %d", step.name, next.Version, got, i+1, step.want)
		}
		versions = append(versions, next)
	}
	if _, err := Next(versions, catalog("n", moreFeatures)); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same again: %v", err)
	}
	_, err := Next(versions, catalog("n", func(c *featurestore.Catalog) {
		c.Sources[0].Fields[1].Type = featurestore.String
		c.Views[0].Features[0].Type = featurestore.String
		c.Sources[0].Topic = "other"
	}))
	for _, want := range []string{`field "x" was float64 and would be string`, `topic was "t"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a change that history cannot take: %v, want something with %s", err, want)
		}
	}
}

func open(t *testing.T) *Registry {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := migrations.Up(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return New(pool, testenv.Namespace(t))
}

// TestTwoAppliesAtOnce: of those who looked at the same version one is first, and the others
// are told.
func TestTwoAppliesAtOnce(t *testing.T) {
	r := open(t)
	namespace := r.namespace
	if _, err := r.ApplyAfter(t.Context(), catalog(namespace, nil), time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	const tries = 5
	results := make(chan error, tries)
	for i := range tries {
		go func() {
			_, err := r.ApplyAfter(t.Context(), catalog(namespace, func(c *featurestore.Catalog) { c.Sources[0].MaxAge += time.Duration(i+1) * time.Minute }), time.Now(), 1)
			results <- err
		}()
	}
	overtaken := 0
	for range tries {
		if err := <-results; errors.Is(err, ErrOvertaken) {
			overtaken++
		} else if err != nil {
			t.Error(err)
		}
	}
	versions, err := r.Versions(t.Context())
	if err != nil || len(versions) != 2 || overtaken != tries-1 {
		t.Errorf("%d versions, %d were told, %v", len(versions), overtaken, err)
	}
	if _, err := r.ApplyAfter(t.Context(), versions[1], time.Now(), 1); !errors.Is(err, ErrUnchanged) {
		t.Errorf("the same again: %v", err)
	}
}

// TestFollowersHearOfVersions applies versions under a follower, and starts another from
// its snapshot when Postgres is away.
func TestFollowersHearOfVersions(t *testing.T) {
	r := open(t)
	snapshot := filepath.Join(t.TempDir(), "deep", "snapshot.json")
	f, err := Follow(t.Context(), r, snapshot, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	for want := 1; want <= 2; want++ {
		_, changed := f.Versions()
		change := []func(*featurestore.Catalog){nil, moreFeatures}[want-1]
		applied, err := r.Apply(t.Context(), catalog(r.namespace, change), time.Now())
		if err != nil || applied.Version != want || applied.EffectiveAt < time.Now().UnixMicro() {
			t.Fatalf("applied %+v, %v", applied, err)
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("the follower did not hear of version %d", want)
		}
		if versions, _ := f.Versions(); len(versions) != want || versions[want-1].Views[0].Generation != want {
			t.Fatalf("the follower knows %d versions, want %d", len(versions), want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	away, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	log := slog.New(slog.DiscardHandler)
	late, err := Follow(t.Context(), New(away, r.namespace), snapshot, log)
	if err != nil {
		t.Fatal(err)
	}
	if versions, _ := late.Versions(); len(versions) != 2 {
		t.Errorf("%d versions in the snapshot, want 2", len(versions))
	}
	if _, err := Follow(t.Context(), New(away, "other"), snapshot, log); err == nil {
		t.Error("a snapshot of another namespace was taken")
	}
}
