package onehoptest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/containers"
)

// shared are the containers that the tests of a process share. Ryuk, the reaper of
// testcontainers, removes them after the process; [StopContainers] does at once.
var shared struct {
	mu      sync.Mutex
	servers map[string]*containers.Server
}

// containerTimeout bounds the start of a container, its image's download included.
const containerTimeout = 5 * time.Minute

func (o *Onehop) servers(tb testing.TB) {
	tb.Helper()
	if len(o.options.Kafka) == 0 {
		o.options.Kafka = strings.Split(container(tb, "Kafka", "Kafka", containers.Kafka), ",")
	}
	if o.options.Redis == "" {
		o.options.Redis = container(tb, "Redis", "Redis", containers.Redis)
	}
	if o.options.Postgres == "" {
		o.options.Postgres = container(tb, "Postgres", "Postgres", containers.Postgres)
	}
}

func container(tb testing.TB, name, option string, start func(context.Context) (*containers.Server, error)) string {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if s := shared.servers[name]; s != nil {
		return s.URL()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), containerTimeout)
	defer cancel()
	s, err := start(ctx)
	if err != nil {
		tb.Fatalf("onehoptest: starting %s in a container: %v\nStart Docker, or set Options.%s to a server of yours.", name, err, option)
	}
	if shared.servers == nil {
		shared.servers = map[string]*containers.Server{}
	}
	shared.servers[name] = s
	return s.URL()
}

// StopContainers stops the containers that tests of this process share. Call it at the
// end of TestMain; tests that come later start new ones.
func StopContainers() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var first error
	for name, s := range shared.servers {
		if err := s.Stop(); err != nil && first == nil {
			first = fmt.Errorf("stopping %s: %w", name, err)
		}
	}
	shared.servers = nil
	return first
}

func namespace() string {
	return "t" + strings.ToLower(rand.Text()[:12])
}
