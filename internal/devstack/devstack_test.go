package devstack_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/onehop/onehop/internal/devstack"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func up(t *testing.T, config devstack.Config) *devstack.Stack {
	t.Helper()
	begin := time.Now()
	stack, err := devstack.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v after %v", stack.Parts, time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() { down(t, stack) })
	return stack
}

func down(t *testing.T, stack *devstack.Stack) {
	t.Helper()
	if err := stack.Stop(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-stack.Failed():
		t.Error("reported as failed:", err)
	default:
	}
}

func clients(t *testing.T, stack *devstack.Stack) (*kgo.Client, *redis.Client, *pgx.Conn) {
	t.Helper()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(stack.KafkaBrokers...), kgo.DefaultProduceTopic("notes"),
		kgo.ConsumeTopics("notes"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	options, err := redis.ParseURL(stack.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	online := redis.NewClient(options)
	t.Cleanup(func() { _ = online.Close() })
	conn, err := pgx.Connect(t.Context(), stack.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return kafka, online, conn
}

func write(t *testing.T, stack *devstack.Stack) (topicID kadm.TopicID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	kafka, online, history := clients(t, stack)
	created, err := kadm.NewClient(kafka).CreateTopic(ctx, 1, 1, nil, "notes")
	if err != nil {
		t.Fatal(err)
	}
	_, err = history.Exec(ctx, "CREATE TABLE notes AS SELECT 'hello' AS note")
	if err := errors.Join(err, kafka.ProduceSync(ctx, kgo.StringRecord("hello")).FirstErr(),
		online.Set(ctx, "note", "hello", 0).Err()); err != nil {
		t.Fatal(err)
	}
	return created.ID
}

func check(t *testing.T, stack *devstack.Stack, id kadm.TopicID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	kafka, online, history := clients(t, stack)
	fetches := kafka.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil || string(fetches.Records()[0].Value) != "hello" {
		t.Errorf("Kafka holds %v, %v", fetches.Records(), err)
	}
	topics, err := kadm.NewClient(kafka).ListTopics(ctx, "notes")
	if err != nil || topics["notes"].ID != id {
		t.Errorf("the topic's id is %v, %v; want %v", topics["notes"].ID, err, id)
	}
	if got, err := online.Get(ctx, "note").Result(); err != nil || got != "hello" {
		t.Errorf("Redis holds %q, %v", got, err)
	}
	var got string
	if err := history.QueryRow(ctx, "SELECT note FROM notes").Scan(&got); err != nil || got != "hello" {
		t.Errorf("Postgres holds %q, %v", got, err)
	}
}

func TestDataDirKeepsEverything(t *testing.T) {
	for _, test := range []struct {
		name string
		real bool
		kind string
	}{{"stand-in", false, "kfake"}, {"real Kafka", true, "Apache Kafka"}} {
		t.Run(test.name, func(t *testing.T) {
			config := devstack.Config{DataDir: t.TempDir(), RealKafka: test.real}
			first := up(t, config)
			if !strings.HasPrefix(first.Parts[0].Kind, test.kind) {
				t.Errorf("Kafka is %q", first.Parts[0].Kind)
			}
			id := write(t, first)
			down(t, first)
			second := up(t, config)
			check(t, second, id)
			if parse(t, first.PostgresURL).Password != parse(t, second.PostgresURL).Password {
				t.Error("the password of the database has changed")
			}
		})
	}
}

func parse(t *testing.T, url string) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestGivenServersAreUsedAndLeftAlone(t *testing.T) {
	stack := up(t, devstack.Config{
		Kafka: strings.Join(testenv.Kafka(t), ","), Redis: testenv.Redis(t), Postgres: testenv.Postgres(t),
	})
	for _, part := range stack.Parts {
		if !strings.HasPrefix(part.Kind, "given") || strings.Contains(part.Addr, "@") {
			t.Errorf("part %+v", part)
		}
	}
	down(t, stack)
	down(t, up(t, devstack.Config{ // They still answer.
		Kafka: strings.Join(testenv.Kafka(t), ","), Redis: testenv.Redis(t), Postgres: testenv.Postgres(t),
	}))
}

func TestOneStackPerDataDir(t *testing.T) {
	config := devstack.Config{
		DataDir: t.TempDir(), Kafka: strings.Join(testenv.Kafka(t), ","), Postgres: testenv.Postgres(t),
	}
	up(t, config)
	second, err := devstack.Start(t.Context(), config)
	if err == nil {
		t.Fatalf("two stacks on one directory: %v", second.Stop())
	}
	if !strings.Contains(err.Error(), config.DataDir) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("unclear: %v", err)
	}
}

func TestMiniredisStandsInWithAWarning(t *testing.T) {
	config := devstack.Config{Kafka: strings.Join(testenv.Kafka(t), ","), Postgres: testenv.Postgres(t)}
	var logged strings.Builder
	config.Log = slog.New(slog.NewTextHandler(&logged, nil))
	config.DataDir = t.TempDir()
	t.Setenv("PATH", t.TempDir())
	stack := up(t, config)
	if !strings.HasPrefix(stack.Parts[1].Kind, "miniredis") || !strings.Contains(logged.String(), "not kept") {
		t.Errorf("part %+v, logged %s", stack.Parts[1], logged.String())
	}
	options, err := redis.ParseURL(stack.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.Set(t.Context(), "note", "hello", 0).Err(); err != nil {
		t.Error(err)
	}
}

func TestFailuresStopWhatIsUp(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "postgres"), nil, 0o600); err != nil { // In the way.
		t.Fatal(err)
	}
	stack, err := devstack.Start(t.Context(), devstack.Config{DataDir: dir, Redis: "redis://:secret@127.0.0.1:1/0"})
	if err == nil {
		t.Fatalf("started: %v", stack.Stop())
	}
	for _, fact := range []string{"Redis at 127.0.0.1:1", "directory for postgres"} {
		if !strings.Contains(err.Error(), fact) {
			t.Errorf("the error doesn't tell %q: %v", fact, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells the password: %v", err)
	}
}

func TestFailedTellsOfAServerThatEnds(t *testing.T) {
	stack := up(t, devstack.Config{Kafka: strings.Join(testenv.Kafka(t), ","), Postgres: testenv.Postgres(t)})
	options, err := redis.ParseURL(stack.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries = -1
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	_ = client.ShutdownNoSave(t.Context()).Err() // The connection ends without an answer.
	select {
	case err := <-stack.Failed():
		if !strings.Contains(err.Error(), "Redis on "+stack.Parts[1].Addr) {
			t.Errorf("unclear: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("nobody told that Redis has ended")
	}
}
