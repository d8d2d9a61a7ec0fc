// Package devstack brings up what Onehop runs on, for `onehop dev` and nothing else: Kafka, Redis and PostgreSQL, each one
// that exists already, a child process, or a stand-in inside this process. It knows nothing of Onehop's own services.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onehop/onehop/internal/cache"
	"github.com/onehop/onehop/internal/servers"
)

// lockWait is how long Start waits for another stack to let go of the data directory.
const lockWait = 5 * time.Second

// Config says what exists already and where to keep data. The zero value starts everything and keeps nothing.
type Config struct {
	// Kafka is the brokers of an existing cluster, separated by commas; empty starts one.
	Kafka string
	// Redis is the URL of an existing server; empty starts one.
	Redis string
	// Postgres is the URL of an existing database; empty starts a server.
	Postgres string
	// DataDir keeps the state of what is started here, so that the next start finds it; empty keeps nothing.
	DataDir string
	// RealKafka starts Apache Kafka on the installed Java instead of the stand-in within this process.
	RealKafka bool
	// Log receives warnings; nil drops them.
	Log *slog.Logger
}

// Part is one server of a stack, for people to read.
type Part struct {
	Name string // "Kafka", "Redis", "Postgres"
	Kind string // what it is: "redis-server 7.0.15", "kfake in this process", "given"
	Addr string // where it listens, without passwords
}

// Stack is what runs. Its fields don't change.
type Stack struct {
	KafkaBrokers []string
	RedisURL     string
	PostgresURL  string
	Parts        []Part

	failed  chan error
	quit    chan struct{}
	watches sync.WaitGroup
	once    sync.Once
	stops   []func() error // called last to first
	stopErr error
}

// started is a part and how clients reach it.
type started struct {
	part   Part
	url    string
	server *servers.Server // nil when it is no child process
	stop   func() error    // nil when there is nothing to stop
}

// Start brings up all parts at the same time. When one fails, those that are up are stopped and the errors of all are
// returned.
func Start(ctx context.Context, config Config) (*Stack, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	stack := &Stack{failed: make(chan error, 3), quit: make(chan struct{})}
	if err := stack.lock(ctx, &config); err != nil {
		return nil, err
	}
	begin := []func(context.Context, Config) (*started, error){startKafka, startRedis, startPostgres}
	parts, errs := make([]*started, len(begin)), make([]error, len(begin))
	var all sync.WaitGroup
	for i, begin := range begin {
		all.Go(func() { parts[i], errs[i] = begin(ctx, config) })
	}
	all.Wait()
	for _, part := range parts {
		if part != nil {
			stack.add(part)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, stack.Stop())
	}
	stack.KafkaBrokers = strings.Split(parts[0].url, ",")
	stack.RedisURL, stack.PostgresURL = parts[1].url, parts[2].url
	return stack, nil
}

// lock makes the data directory and keeps it to this stack.
func (s *Stack) lock(ctx context.Context, config *Config) error {
	if config.DataDir == "" {
		return nil
	}
	dir, err := filepath.Abs(config.DataDir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	unlock, err := cache.Lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("data directory %s is in use, stop the other `onehop dev` or choose another: %w", dir, err)
	}
	config.DataDir = dir
	s.stops = append(s.stops, func() error { unlock(); return nil })
	return nil
}

// add takes the part over and watches its process.
func (s *Stack) add(p *started) {
	s.Parts = append(s.Parts, p.part)
	if p.stop != nil {
		s.stops = append(s.stops, p.stop)
	}
	if p.server == nil {
		return
	}
	s.watches.Go(func() {
		select {
		case <-s.quit:
		case <-p.server.Done():
			s.failed <- fmt.Errorf("%s on %s ended by itself: see %s", p.part.Name, p.part.Addr, p.server.LogFile())
		}
	})
}

// Failed delivers an error when a server ends that Stop has not stopped.
func (s *Stack) Failed() <-chan error { return s.failed }

// Stop ends what Start has started and waits for it, keeping what is in the data directory. It may be called any number
// of times.
func (s *Stack) Stop() error {
	s.once.Do(func() {
		close(s.quit)
		s.watches.Wait()
		for _, stop := range slices.Backward(s.stops) {
			s.stopErr = errors.Join(s.stopErr, stop())
		}
	})
	return s.stopErr
}
