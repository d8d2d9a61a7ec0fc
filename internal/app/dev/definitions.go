package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/featurestore/definition"
	"github.com/onehop/onehop/featurestore/registry"
	"github.com/onehop/onehop/internal/app"
	"github.com/onehop/onehop/migrations"
)

// definitions keeps what is applied in step with the files. Only one goroutine uses it
// at a time.
type definitions struct {
	path, override string
	out            io.Writer
	poll           time.Duration

	catalog *featurestore.Catalog // as read last without mistakes
	seen    string                // signature of the files that were read last
	pool    *pgxpool.Pool
	store   *registry.Registry
	version int // that is applied
}

// newDefinitions reads the files.
func newDefinitions(c Config) (*definitions, error) {
	d := &definitions{path: c.Definitions, override: c.Namespace, out: c.Out, poll: c.Poll}
	if d.poll == 0 {
		d.poll = time.Second
	}
	var err error
	if d.seen, err = signature(d.path); err != nil {
		return nil, fmt.Errorf("reading definitions: %w", err)
	}
	if d.catalog, err = d.load(); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *definitions) load() (*featurestore.Catalog, error) {
	return definition.Options{Namespace: d.override}.Load(d.path)
}

// start connects to Postgres and applies what was read.
func (d *definitions) start(ctx context.Context, postgres string) error {
	pool, err := app.OpenPool(ctx, postgres, nil)
	if err != nil {
		return err
	}
	d.pool, d.store = pool, registry.New(pool, d.catalog.Namespace)
	if _, err = migrations.Up(ctx, pool); err == nil {
		err = d.apply(ctx, d.catalog)
	}
	if err != nil {
		pool.Close()
	}
	return err
}

func (d *definitions) stop() { d.pool.Close() }

// apply applies a catalog and says what changed.
func (d *definitions) apply(ctx context.Context, catalog *featurestore.Catalog) error {
	versions, err := d.store.Versions(ctx)
	if err != nil {
		return err
	}
	applied, err := d.store.Apply(ctx, catalog, time.Now())
	switch {
	case errors.Is(err, registry.ErrUnchanged):
		d.version = len(versions)
		return nil
	case err != nil:
		return fmt.Errorf("applying definitions: %w", err)
	}
	d.version = applied.Version
	if len(versions) > 0 {
		if err := definition.Write(d.out, definition.Diff(versions[len(versions)-1], catalog), false); err != nil {
			return fmt.Errorf("writing what changed: %w", err)
		}
		fmt.Fprintf(d.out, "Applied version %d.\n", d.version)
	}
	return nil
}

// watch applies the files again when they have changed, until the context ends.
// Mistakes are told, and what is applied stays.
func (d *definitions) watch(ctx context.Context) error {
	tick := time.NewTicker(d.poll)
	defer tick.Stop()
	before := d.seen
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := signature(d.path)
		if err != nil {
			now = err.Error()
		}
		// Editors write in several steps: wait until nothing moves.
		if settled := now == before; settled && now != d.seen {
			d.seen = now
			if err := d.reload(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintf(d.out, "The definitions were not applied, version %d stays:\n%v\n", d.version, err)
			}
		}
		before = now
	}
}

func (d *definitions) reload(ctx context.Context) error {
	catalog, err := d.load()
	if err != nil {
		return err
	}
	if catalog.Namespace != d.catalog.Namespace {
		return fmt.Errorf("the namespace was %s and would be %s: start onehop dev again", d.catalog.Namespace, catalog.Namespace)
	}
	d.catalog = catalog
	return d.apply(ctx, catalog)
}

// watched are the extensions of definition files, and the usual ones of descriptor sets.
var watched = []string{".yaml", ".yml", ".binpb", ".pb", ".desc"}

// signature changes when a definition file does: names, sizes and times of change.
func signature(path string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || name != path && !slices.Contains(watched, filepath.Ext(name)) {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	return b.String(), err
}
