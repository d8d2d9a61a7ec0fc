package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/registry"
)

// sourceName is the only source.
const sourceName = "ratings"

// approximateView sums a field whose values are no halves, so that its last bits depend on
// the order of events; all other rows are compared byte for byte.
const approximateView = "weights"

// countView and countColumn are what the reader of online features asks for.
const (
	countView   = "users"
	countColumn = "count_lifetime"
)

// definitions have two views of users, whose events are all in one partition, and two of
// movies, whose rows are fed by all partitions: one with every kind of aggregate, and one
// that leaves duplicates out. Each counts over a lifetime, so that no row
// expires and a lost event shows as one.
const definitions = `
entities:
  - name: user
    keys: [{name: user_id, type: int64}]
  - name: movie
    keys: [{name: movie_id, type: int64}]
sources:
  - name: ratings
    format: json
    event_time: {field: event_time, unit: us}
    fields:
      - {name: user_id, type: int64, required: true}
      - {name: movie_id, type: int64, required: true}
      - {name: rating, type: float64}
      - {name: weight, type: float64}
views:
  - name: users
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1h, lifetime]}
      - {name: sum, aggregate: sum, field: rating, windows: [lifetime]}
      - {name: last, aggregate: latest, field: rating}
      - {name: recent, aggregate: last_n, field: movie_id, n: 5}
  - name: movies
    entity: movie
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [1d, lifetime]}
      - {name: mean, aggregate: mean, field: rating, windows: [1h, lifetime]}
      - {name: least, aggregate: min, field: rating, windows: [1h]}
      - {name: first, aggregate: first, field: user_id}
      - {name: users, aggregate: distinct, field: user_id, windows: [{length: 1d, hop: 6h}, lifetime]}
      - {name: median, aggregate: quantile, field: rating, q: 0.5, windows: [{length: 1d, hop: 6h}, lifetime]}
      - {name: good, aggregate: count, where: rating >= 4.0, windows: [1h, lifetime]}
      - {name: last_good, aggregate: latest, field: user_id, where: rating >= 4.0}
      - {name: lately, aggregate: sum, field: rating, exact: 20, windows: [1h]}
  - name: once
    entity: movie
    source: ratings
    dedupe: {by: user_id, last: 3}
    features:
      - {name: count, aggregate: count, windows: [lifetime]}
  - name: weights
    entity: user
    source: ratings
    features:
      - {name: count, aggregate: count, windows: [lifetime]}
      - {name: sum, aggregate: sum, field: weight, windows: [6h, lifetime]}
`

// apply applies the definitions to a namespace, with the topic in it too; of the views those
// named, or all.
func apply(ctx context.Context, pool *pgxpool.Pool, namespace string, views []string) ([]*featurestore.Catalog, error) {
	catalog, err := definition.Options{Namespace: namespace}.Parse([]definition.File{{Name: "chaos.yaml", Text: []byte(definitions)}})
	if err != nil {
		return nil, fmt.Errorf("the definitions: %w", err)
	}
	catalog.Views = slices.DeleteFunc(catalog.Views, func(v featurestore.View) bool {
		return len(views) > 0 && !slices.Contains(views, v.Name)
	})
	catalog.Sources[0].Topic = namespace + "." + sourceName
	r := registry.New(pool, namespace)
	if _, err := r.Apply(ctx, catalog, time.Now()); err != nil && !errors.Is(err, registry.ErrUnchanged) {
		return nil, err
	}
	return r.Versions(ctx)
}
