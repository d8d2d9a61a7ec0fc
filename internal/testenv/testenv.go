// Package testenv gives tests real servers. A test asks for one and gets its URL; the server was named by the environment
// (ONEHOP_TEST_KAFKA, ONEHOP_TEST_REDIS, ONEHOP_TEST_POSTGRES), or it is started when the first test asks, natively or, where
// that isn't possible, in a container, and ends with the test program. Tests share servers, between packages too, so each
// keeps to a Namespace of its own. A package that uses this has the line
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// The program in the folder "with" starts all three once for a whole `go test ./...`.
package testenv

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// startTimeout bounds the start of a server, downloads and other processes' downloads included.
const startTimeout = 5 * time.Minute

// mainRuns tells that somebody will stop the servers.
var mainRuns atomic.Bool

// slots hold the servers of this test program.
var slots = map[Kind]*slot{KindKafka: {}, KindRedis: {}, KindPostgres: {}}

type slot struct {
	mu     sync.Mutex
	server *Server
	err    error
}

// Main runs the tests and what is to come after them, stops the servers that were started for them, fails when goroutines are
// left over, and exits.
func Main(m *testing.M, after ...func()) {
	mainRuns.Store(true)
	code := m.Run()
	for _, f := range after {
		f()
	}
	for kind, slot := range slots {
		if err := slot.stop(); err != nil {
			fmt.Fprintf(os.Stderr, "testenv: stop %s: %v\n", kind, err)
			code = max(code, 1)
		}
	}
	if code == 0 { // A failed test may well leave something behind.
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "testenv:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Kafka returns the addresses of a real Kafka cluster that makes no topics by itself.
func Kafka(t testing.TB) []string {
	t.Helper()
	return strings.Split(url(t, KindKafka), ",")
}

// Redis returns the URL of a real Redis server with noeviction.
func Redis(t testing.TB) string {
	t.Helper()
	return url(t, KindRedis)
}

// Postgres returns the URL of a database on a real PostgreSQL server, where the user may do everything.
func Postgres(t testing.TB) string {
	t.Helper()
	return url(t, KindPostgres)
}

func url(t testing.TB, kind Kind) string {
	t.Helper()
	server, err := slots[kind].get(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	return server.URL
}

// get starts the server on the first call. A start that failed isn't tried again.
func (s *slot) get(ctx context.Context, kind Kind) (*Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil || s.err != nil {
		return s.server, s.err
	}
	if !mainRuns.Load() {
		return nil, fmt.Errorf("nobody would stop %s: add `func TestMain(m *testing.M) { testenv.Main(m) }` to the package",
			kind)
	}
	// The server outlives the test that asks first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	s.server, s.err = Start(ctx, kind)
	return s.server, s.err
}

func (s *slot) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return nil
	}
	return s.server.Stop()
}
