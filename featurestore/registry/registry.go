package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/fold"
)

// Ahead is how far ahead of now an applied version takes effect.
const Ahead = 3 * time.Second

// channel is the Postgres channel on which versions are announced.
const channel = "onehop_definitions"

// Registry is the store of one namespace's definitions. It is safe for concurrent
// use and does not own its pool.
type Registry struct {
	pool      *pgxpool.Pool
	namespace string
}

// New is the registry of a namespace.
func New(pool *pgxpool.Pool, namespace string) *Registry {
	return &Registry{pool: pool, namespace: namespace}
}

// Versions returns the applied versions, oldest first; none if nothing was applied.
func (r *Registry) Versions(ctx context.Context) ([]*featurestore.Catalog, error) {
	return versions(ctx, r.pool, r.namespace)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func versions(ctx context.Context, db querier, namespace string) ([]*featurestore.Catalog, error) {
	rows, err := db.Query(ctx, `SELECT catalog FROM onehop.definitions WHERE namespace = $1 ORDER BY version`, namespace)
	if err != nil {
		return nil, fmt.Errorf("reading the definitions of namespace %q: %w", namespace, err)
	}
	catalogs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*featurestore.Catalog, error) {
		var stored []byte
		if err := row.Scan(&stored); err != nil {
			return nil, fmt.Errorf("scanning: %w", err)
		}
		return decode(stored)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the definitions of namespace %q: %w", namespace, err)
	}
	return catalogs, nil
}

func decode(stored []byte) (*featurestore.Catalog, error) {
	c := &featurestore.Catalog{}
	if err := json.Unmarshal(stored, c); err != nil {
		return nil, fmt.Errorf("the stored definitions are damaged: %w", err)
	}
	return c, nil
}

// ErrUnchanged means that the newest version already says the same.
var ErrUnchanged = errors.New("the definitions are already applied")

// Apply stores a checked catalog as the next version and returns it, with its number,
// its moment of effect and the generations of its views filled in. It fails with
// [ErrUnchanged] when nothing would change.
func (r *Registry) Apply(ctx context.Context, catalog *featurestore.Catalog, now time.Time) (*featurestore.Catalog, error) {
	return r.apply(ctx, catalog, now, nil)
}

// ErrOvertaken means that the newest version is not the one that somebody looked at.
var ErrOvertaken = errors.New("other definitions were applied meanwhile, and what was shown is not what would change: look again, and apply again")

// ApplyAfter is Apply for who has looked at what changes against a version, 0 for none. It fails
// with [ErrOvertaken] when that is not the newest any more.
func (r *Registry) ApplyAfter(ctx context.Context, catalog *featurestore.Catalog, now time.Time, version int) (*featurestore.Catalog, error) {
	return r.apply(ctx, catalog, now, &version)
}

func (r *Registry) apply(ctx context.Context, catalog *featurestore.Catalog, now time.Time, after *int) (*featurestore.Catalog, error) {
	var applied *featurestore.Catalog
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", "onehop definitions "+r.namespace); err != nil {
			return fmt.Errorf("locking the definitions: %w", err)
		}
		before, err := versions(ctx, tx, r.namespace)
		if err != nil {
			return err
		}
		if applied, err = Next(before, catalog); err != nil {
			return err
		}
		if after != nil && len(before) != *after {
			return ErrOvertaken
		}
		applied.EffectiveAt = now.Add(Ahead).UnixMicro()
		stored, err := json.Marshal(applied)
		if err != nil {
			return fmt.Errorf("encoding the definitions: %w", err)
		}
		const insert = `INSERT INTO onehop.definitions (namespace, version, effective_at, catalog) VALUES ($1, $2, $3, $4)`
		if _, err := tx.Exec(ctx, insert, r.namespace, applied.Version, time.UnixMicro(applied.EffectiveAt), stored); err != nil {
			return fmt.Errorf("storing the definitions: %w", err)
		}
		if _, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", channel, r.namespace); err != nil {
			return fmt.Errorf("announcing the definitions: %w", err)
		}
		return nil
	})
	return applied, err
}

// Next is the version that a catalog would become after those before it: numbered,
// and every view with the generation that its state needs. It refuses changes that
// the history of a source cannot take.
func Next(before []*featurestore.Catalog, catalog *featurestore.Catalog) (*featurestore.Catalog, error) {
	next := *catalog
	next.Version, next.EffectiveAt = len(before)+1, 0
	next.Views = append([]featurestore.View(nil), catalog.Views...)
	for i := range next.Views {
		generation, err := generationOf(before, &next, &next.Views[i])
		if err != nil {
			return nil, err
		}
		next.Views[i].Generation = generation
	}
	if len(before) == 0 {
		return &next, nil
	}
	last := before[len(before)-1]
	if err := compatible(last, &next); err != nil {
		return nil, err
	}
	a, b := *last, next
	a.Version, a.EffectiveAt, b.Version = 0, 0, 0
	if same, err := equalJSON(&a, &b); err != nil || same {
		return nil, errors.Join(err, ErrUnchanged)
	}
	return &next, nil
}

// generationOf finds the generation whose rows the view can go on with, or numbers a
// new one. An earlier generation will do, however long ago it was folded: its watermarks
// say from where to go on. So going back to earlier definitions is quick.
func generationOf(before []*featurestore.Catalog, catalog *featurestore.Catalog, view *featurestore.View) (int, error) {
	want, err := fingerprint(catalog, view)
	if err != nil {
		return 0, err
	}
	newest := 0
	same := 0
	for _, c := range before {
		old := c.View(view.Name)
		if old == nil {
			continue
		}
		newest = max(newest, old.Generation)
		if got, err := fingerprint(c, old); err == nil && got == want {
			same = old.Generation
		}
	}
	if same > 0 {
		return same, nil
	}
	return newest + 1, nil
}

func fingerprint(c *featurestore.Catalog, view *featurestore.View) (uint64, error) {
	program, err := fold.Compile(view, c.Source(view.Source))
	if err != nil {
		return 0, fmt.Errorf("compiling: %w", err)
	}
	return program.Fingerprint(), nil
}

// compatible refuses a field that changes its type, and a source that changes its
// topic: history would hold two kinds of values under one name.
func compatible(before, after *featurestore.Catalog) error {
	var problems []error
	for i := range after.Sources {
		s := &after.Sources[i]
		old := before.Source(s.Name)
		if old == nil {
			continue
		}
		if old.Topic != s.Topic {
			problems = append(problems, fmt.Errorf("source %q: its topic was %q and would be %q: define a new source", s.Name, old.Topic, s.Topic))
		}
		for _, f := range s.Fields {
			if j := old.Field(f.Name); j >= 0 && old.Fields[j].Type != f.Type {
				problems = append(problems, fmt.Errorf("source %q: field %q was %s and would be %s: define a new field", s.Name, f.Name, old.Fields[j].Type, f.Type))
			}
		}
	}
	return errors.Join(problems...)
}

func equalJSON(a, b any) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, fmt.Errorf("encoding the definitions: %w", err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		return false, fmt.Errorf("encoding the definitions: %w", err)
	}
	return string(x) == string(y), nil
}
