package containers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"github.com/testcontainers/testcontainers-go"

	"github.com/onehop/onehop/internal/servers"
)

// Redis starts Redis with noeviction and nothing on disk; from redis:7.4-alpine unless ONEHOP_IMAGE_REDIS is set.
func Redis(ctx context.Context) (*Server, error) {
	return start(ctx, recipe{
		name: "Redis",
		request: testcontainers.ContainerRequest{
			Image:        image("ONEHOP_IMAGE_REDIS", "redis:7.4-alpine"),
			ExposedPorts: []string{"6379/tcp"},
			Cmd: []string{
				"redis-server", "--bind", "0.0.0.0", "--protected-mode", "no",
				"--maxmemory-policy", "noeviction", "--save", "", "--appendonly", "no",
			},
		},
		port:  "6379/tcp",
		url:   func(hostPort string) string { return "redis://" + hostPort + "/0" },
		ready: servers.RedisVersion,
	})
}

// Postgres starts PostgreSQL without fsync, with a database of its own and a generated password; from postgres:16-alpine
// unless ONEHOP_IMAGE_POSTGRES is set.
func Postgres(ctx context.Context) (*Server, error) {
	const name = "onehop"
	password := rand.Text()
	return start(ctx, recipe{
		name: "PostgreSQL",
		request: testcontainers.ContainerRequest{
			Image:        image("ONEHOP_IMAGE_POSTGRES", "postgres:16-alpine"),
			ExposedPorts: []string{"5432/tcp"},
			Env:          map[string]string{"POSTGRES_USER": name, "POSTGRES_PASSWORD": password, "POSTGRES_DB": name},
			Cmd:          []string{"postgres", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"},
		},
		port: "5432/tcp",
		url: func(hostPort string) string {
			return (&url.URL{
				Scheme: "postgres", User: url.UserPassword(name, password), Host: hostPort, Path: "/" + name,
				RawQuery: "sslmode=disable",
			}).String()
		},
		ready: servers.PostgresVersion,
	})
}

// Kafka starts a single Kafka broker in KRaft mode; from apache/kafka:4.1.0 unless ONEHOP_IMAGE_KAFKA is set. Topics aren't
// created automatically.
func Kafka(ctx context.Context) (*Server, error) {
	if err := Available(ctx); err != nil {
		return nil, err
	}
	host, err := daemonHost(ctx)
	if err != nil {
		return nil, err
	}
	// A broker tells clients where to connect, so its port has to be known before it starts: a free one, mapped as it is.
	free, err := servers.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(free)
	addr := net.JoinHostPort(host, port)
	return start(ctx, recipe{
		name: "Apache Kafka",
		request: testcontainers.ContainerRequest{
			Image:        image("ONEHOP_IMAGE_KAFKA", "apache/kafka:4.1.0"),
			ExposedPorts: []string{port + "/tcp"},
			HostConfigModifier: func(config *container.HostConfig) {
				config.PortBindings = nat.PortMap{nat.Port(port + "/tcp"): {{HostIP: bindIP(host), HostPort: port}}}
			},
			Env: map[string]string{
				"CLUSTER_ID":                                     "MkU3OEVBNTcwNTJENDM2Qk",
				"KAFKA_NODE_ID":                                  "1",
				"KAFKA_PROCESS_ROLES":                            "broker,controller",
				"KAFKA_LISTENERS":                                "PLAINTEXT://:" + port + ",CONTROLLER://:9093",
				"KAFKA_ADVERTISED_LISTENERS":                     "PLAINTEXT://" + addr,
				"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
				"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
				"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:9093",
				"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
				"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":             "4",
				"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
				"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
				"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
				"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
			},
		},
		url: func(string) string { return addr },
		ready: func(ctx context.Context, addr string) (string, error) {
			return servers.KafkaVersion(ctx, []string{addr})
		},
	})
}

// bindIP keeps the port to this machine when the engine is on it.
func bindIP(host string) string {
	if ip := net.ParseIP(host); host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return "127.0.0.1"
	}
	return "0.0.0.0"
}

// daemonHost is the name under which mapped ports are reached.
func daemonHost(ctx context.Context) (string, error) {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", noEngine(err)
	}
	host, err := provider.DaemonHost(ctx)
	if err := errors.Join(err, provider.Close()); err != nil {
		return "", fmt.Errorf("host of the Docker engine: %w", err)
	}
	return host, nil
}
