package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/onehop/onehop/internal/servers"
)

// World is the servers that the faults share, each fault with a namespace of its own, and
// the built services.
type World struct {
	Kafka, Redis, Postgres *servers.Server
	// proxies lead to the servers: "kafka", "redis", "postgres".
	proxies map[string]*Proxy
	dir     string
	root    string // of the module, to build in
	mu      sync.Mutex
	built   map[bool]string // with the race detector or without
}

// NewWorld starts the servers. root is the directory of the module.
func NewWorld(ctx context.Context, root string) (*World, error) {
	dir, err := os.MkdirTemp("", "onehop-chaos-")
	if err != nil {
		return nil, fmt.Errorf("a directory for the servers: %w", err)
	}
	w := &World{dir: dir, root: root, proxies: map[string]*Proxy{}, built: map[bool]string{}}
	if err := errors.Join(os.Chmod(dir, 0o711), w.start(ctx)); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) start(ctx context.Context) error {
	behind, err := servers.FreePort(ctx)
	if err != nil {
		return err
	}
	advertise, err := servers.FreePort(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		w.Kafka, err = servers.Kafka(ctx, servers.Options{Behind: &servers.ProxyPorts{Listen: behind, Advertise: advertise}})
		return err
	})
	group.Go(func() (err error) { // with a directory it keeps its rows over restarts
		w.Redis, err = servers.Redis(ctx, servers.Options{Dir: filepath.Join(w.dir, "redis")})
		return err
	})
	group.Go(func() (err error) {
		w.Postgres, err = servers.Postgres(ctx, servers.Options{NoSync: true})
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for name, to := range map[string]struct {
		port int
		addr string
	}{
		"kafka":    {advertise, fmt.Sprintf("127.0.0.1:%d", behind)},
		"redis":    {0, w.Redis.Addr()},
		"postgres": {0, w.Postgres.Addr()},
	} {
		if w.proxies[name], err = newProxy(name, to.port, to.addr); err != nil {
			return err
		}
	}
	return nil
}

// Close stops everything.
func (w *World) Close() error {
	var errs []error
	for _, p := range w.proxies {
		p.Cut()
	}
	for _, s := range []*servers.Server{w.Kafka, w.Redis, w.Postgres} {
		if s != nil {
			errs = append(errs, s.Stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// binaries builds ingest and serve, once, and returns where they are.
func (w *World) binaries(ctx context.Context, race bool) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if dir := w.built[race]; dir != "" {
		return dir, nil
	}
	dir := filepath.Join(w.dir, fmt.Sprintf("race-%v", race))
	build := exec.CommandContext(ctx, "go", "build", fmt.Sprintf("-race=%v", race), "-o", dir+"/", "./cmd/ingest", "./cmd/serve")
	build.Dir = w.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the services: %w\n%s", err, out)
	}
	w.built[race] = dir
	return dir, nil
}
