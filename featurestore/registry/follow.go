package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onehop/onehop/featurestore"
)

// lookEvery is how often a follower looks for a version that it was not told of.
const lookEvery = 2 * time.Second

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
	for ctx.Err() == nil {
		err := f.listen(ctx)
		if err != nil && ctx.Err() == nil {
			f.log.Warn("cannot follow the definitions in Postgres; trying again", "error", err)
		}
		pause(ctx, lookEvery)
	}
	return nil
}

// listen waits for announcements on one connection until it fails.
func (f *Follower) listen(ctx context.Context) error {
	conn, err := f.registry.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer release(ctx, conn)
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	for {
		if err := f.look(ctx, conn); err != nil {
			return err
		}
		waitCtx, cancel := context.WithTimeout(ctx, lookEvery)
		_, err := conn.Conn().WaitForNotification(waitCtx)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("waiting for an announcement: %w", err)
		}
	}
}

// release gives a listening connection back without its subscription.
func release(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "UNLISTEN *"); err != nil {
		_ = conn.Conn().Close(ctx) // the pool drops a closed connection
	}
	conn.Release()
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
	if err := f.writeSnapshot(versions); err != nil {
		f.log.Warn("the snapshot of the definitions was not written", "snapshot", f.snapshot, "error", err)
	}
}

func (f *Follower) readSnapshot() ([]*featurestore.Catalog, error) {
	if f.snapshot == "" {
		return nil, errors.New("no snapshot file is configured")
	}
	stored, err := os.ReadFile(f.snapshot)
	if err != nil {
		return nil, fmt.Errorf("the snapshot: %w", err)
	}
	var versions []*featurestore.Catalog
	if err := json.Unmarshal(stored, &versions); err != nil {
		return nil, fmt.Errorf("the snapshot %s is damaged: %w", f.snapshot, err)
	}
	if len(versions) == 0 || versions[0].Namespace != f.registry.namespace {
		return nil, fmt.Errorf("the snapshot %s is of another namespace", f.snapshot)
	}
	return versions, nil
}

// writeSnapshot replaces the snapshot file at once, so that it is never half written.
func (f *Follower) writeSnapshot(versions []*featurestore.Catalog) error {
	if f.snapshot == "" || len(versions) == 0 {
		return nil
	}
	stored, err := json.Marshal(versions)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.snapshot), 0o750); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	temporary := f.snapshot + ".new"
	if err := os.WriteFile(temporary, stored, 0o600); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if err := os.Rename(temporary, f.snapshot); err != nil {
		return fmt.Errorf("putting it in place: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
