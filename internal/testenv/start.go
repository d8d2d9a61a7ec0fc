package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/onehop/onehop/internal/containers"
	"github.com/onehop/onehop/internal/servers"
)

// Kind is one of the servers that Onehop works with.
type Kind string

// The three kinds.
const (
	KindKafka    Kind = "kafka"
	KindRedis    Kind = "redis"
	KindPostgres Kind = "postgres"
)

// Env is the environment variable that names a running server of this kind: a URL, or for Kafka a list of brokers separated
// by commas.
func (k Kind) Env() string { return "ONEHOP_TEST_" + strings.ToUpper(string(k)) }

// Server is a running server and how to stop it.
type Server struct {
	// URL is what the variable Kind.Env holds.
	URL string
	// Description says what it is: "Redis 7.0.15 (native)".
	Description string

	stop func() error
}

// Stop ends the server if Start has started it.
func (s *Server) Stop() error { return s.stop() }

// Start finds or starts a server of the kind by the best means there are: the environment, native binaries, a container.
// Most tests want Kafka, Redis or Postgres instead.
func Start(ctx context.Context, kind Kind) (*Server, error) {
	if url := os.Getenv(kind.Env()); url != "" {
		return named(ctx, kind, url)
	}
	server, native := startNative(ctx, kind)
	if native == nil {
		return server, nil
	}
	if !errors.Is(native, servers.ErrNotInstalled) {
		return nil, native
	}
	server, contained := startContainer(ctx, kind)
	if contained == nil {
		return server, nil
	}
	return nil, fmt.Errorf("no %s to test against. Do one of these:\n"+
		"- set %s to a running one\n- %w\n- %w", kind, kind.Env(), native, contained)
}

// named asks the server in the environment what it is, so that a wrong address is told at once.
func named(ctx context.Context, kind Kind, url string) (*Server, error) {
	name, version, err := "", "", error(nil)
	switch kind {
	case KindKafka:
		name = "Kafka"
		version, err = servers.KafkaVersion(ctx, strings.Split(url, ","))
	case KindRedis:
		name = "Redis"
		version, err = servers.RedisVersion(ctx, url)
	case KindPostgres:
		name = "PostgreSQL"
		version, err = servers.PostgresVersion(ctx, url)
	}
	if err != nil {
		return nil, fmt.Errorf("the server that %s names: %w", kind.Env(), err)
	}
	return &Server{
		URL: url, Description: fmt.Sprintf("%s %s (from %s)", name, version, kind.Env()),
		stop: func() error { return nil },
	}, nil
}

func startNative(ctx context.Context, kind Kind) (*Server, error) {
	start, how := servers.Kafka, "native, KRaft"
	switch kind {
	case KindRedis:
		start, how = servers.Redis, "native"
	case KindPostgres:
		start, how = servers.Postgres, "native"
	case KindKafka:
	}
	server, err := start(ctx, servers.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	return &Server{
		URL: server.URL(), Description: fmt.Sprintf("%s %s (%s)", server.Name(), server.Version(), how), stop: server.Stop,
	}, nil
}

func startContainer(ctx context.Context, kind Kind) (*Server, error) {
	start := map[Kind]func(context.Context) (*containers.Server, error){
		KindKafka: containers.Kafka, KindRedis: containers.Redis, KindPostgres: containers.Postgres,
	}[kind]
	server, err := start(ctx)
	if err != nil {
		return nil, err
	}
	return &Server{
		URL:         server.URL(),
		Description: fmt.Sprintf("%s %s (container, %s)", server.Name(), server.Version(), server.Image()),
		stop:        server.Stop,
	}, nil
}
