package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/internal/follow"
)

// Follower keeps up with the versions of a namespace. It is safe for concurrent use.
type Follower struct {
	registry *Registry
	snapshot string
	log      *slog.Logger

	mu       sync.Mutex
	versions []*featurestore.Catalog
	changed  chan struct{}
}

// Follow loads the versions from Postgres or, when it is away, from the snapshot file.
// snapshot is the file's path; empty for none. Nothing need have been applied yet.
func Follow(ctx context.Context, registry *Registry, snapshot string, log *slog.Logger) (*Follower, error) {
	f := &Follower{registry: registry, snapshot: snapshot, log: log, changed: make(chan struct{})}
	versions, err := registry.Versions(ctx)
	if err != nil {
		versions, fileErr := f.readSnapshot()
		if fileErr != nil {
			return nil, errors.Join(fmt.Errorf("no Postgres, and no snapshot of the definitions to start from: %w", err), fileErr)
		}
		log.Warn("Postgres is away; starting from the snapshot of the definitions", "snapshot", snapshot, "error", err)
		f.versions = versions
		return f, nil
	}
	f.set(versions)
	return f, nil
}

// Versions are the known versions, oldest first, and a channel that is closed when
// there are more.
func (f *Follower) Versions() ([]*featurestore.Catalog, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.versions, f.changed
}

// Run follows until the context ends.
func (f *Follower) Run(ctx context.Context) error {
	announced := follow.Channel{Pool: f.registry.pool, Name: channel, Log: f.log}
	return announced.Run(ctx, f.look)
}

func (f *Follower) look(ctx context.Context, conn *pgxpool.Conn) error {
	var newest int
	err := conn.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM onehop.definitions WHERE namespace = $1`,
		f.registry.namespace).Scan(&newest)
	if err != nil {
		return fmt.Errorf("asking for the newest version: %w", err)
	}
	known, _ := f.Versions()
	if newest == len(known) {
		return nil
	}
	all, err := versions(ctx, conn, f.registry.namespace)
	if err != nil {
		return err
	}
	f.set(all)
	return nil
}

func (f *Follower) set(versions []*featurestore.Catalog) {
	f.mu.Lock()
	f.versions = versions
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	if len(versions) > 0 {
		f.log.Info("definitions", "version", len(versions))
	}
	if f.snapshot == "" || len(versions) == 0 {
		return
	}
	if err := follow.WriteSnapshot(f.snapshot, versions); err != nil {
		f.log.Warn("the snapshot of the definitions was not written", "snapshot", f.snapshot, "error", err)
	}
}

func (f *Follower) readSnapshot() ([]*featurestore.Catalog, error) {
	if f.snapshot == "" {
		return nil, errors.New("no snapshot file is configured")
	}
	var versions []*featurestore.Catalog
	if err := follow.ReadSnapshot(f.snapshot, &versions); err != nil {
		return nil, err
	}
	if len(versions) == 0 || versions[0].Namespace != f.registry.namespace {
		return nil, fmt.Errorf("the snapshot %s is of another namespace", f.snapshot)
	}
	return versions, nil
}
