package containers_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/internal/containers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts a server for the test.
func run(t *testing.T, start func(context.Context) (*containers.Server, error)) *containers.Server {
	t.Helper()
	if os.Getenv("ONEHOP_TEST_CONTAINERS") == "" {
		t.Skip("ONEHOP_TEST_CONTAINERS is not set: it takes a Docker engine")
	}
	begin := time.Now()
	server, err := start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s from %s answers after %v", server.Name(), server.Version(), server.Image(),
		time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := errors.Join(server.Stop(), server.Stop()); err != nil {
			t.Error(err)
		}
	})
	return server
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestRedis(t *testing.T) {
	options, err := redis.ParseURL(run(t, containers.Redis).URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	ctx := within(t, 10*time.Second)
	if err := client.Set(ctx, "note", "hello", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(ctx, "note").Result(); err != nil || got != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	policy, err := client.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil || policy["maxmemory-policy"] != "noeviction" {
		t.Errorf("memory policy %q, %v", policy, err)
	}
}

func TestPostgres(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	conn, err := pgx.Connect(ctx, run(t, containers.Postgres).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE TABLE notes AS SELECT 'hello' AS note"); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := conn.QueryRow(ctx, "SELECT note FROM notes").Scan(&got); err != nil || got != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestKafka(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers(run(t, containers.Kafka).URL()), kgo.DefaultProduceTopic("notes"),
		kgo.ConsumeTopics("notes"), kgo.ConsumerGroup("readers"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := within(t, 30*time.Second)
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "notes"); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, kgo.StringRecord("hello")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil || string(fetches.Records()[0].Value) != "hello" {
		t.Errorf("read %v, %v", fetches.Records(), err)
	}
}

func TestNoEngineIsToldWithWhatToDo(t *testing.T) {
	if os.Getenv("ONEHOP_TEST_CONTAINERS") != "" {
		t.Skip("there is an engine, and its address is remembered by the client library")
	}
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	for name, start := range map[string]func(context.Context) (*containers.Server, error){
		"redis": containers.Redis, "postgres": containers.Postgres, "kafka": containers.Kafka,
	} {
		if server, err := start(t.Context()); err == nil {
			t.Errorf("%s started without an engine: %v", name, server.Stop())
		}
	}
}
