package servers_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/servers"
)

// Whoever presses Ctrl-C during the first start must not be left with half a cluster.
func TestPostgresStartsAfterAnInterruptedFirstStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := interrupt(t, filepath.Join(dir, "data.partial", "PG_VERSION"), func(ctx context.Context) error {
		_, err := servers.Postgres(ctx, servers.Options{Dir: dir, NoSync: true})
		return err
	})
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err)
	}
	if err == nil {
		t.Fatal("an interrupted start succeeded")
	}
	run(t, servers.Postgres, servers.Options{Dir: dir, NoSync: true})
}

// interrupt cancels the context of start as soon as the file exists.
func interrupt(t *testing.T, file string, start func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	watch.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := os.Stat(file); err == nil {
				cancel()
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	err := start(ctx)
	cancel()
	return err
}
