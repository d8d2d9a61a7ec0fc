package servers_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/onehop/onehop/internal/servers"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		runChild()
		return
	}
	goleak.VerifyTestMain(m)
}

type starter func(context.Context, servers.Options) (*servers.Server, error)

// run starts a server for the test, or skips the test where the server isn't installed.
func run(t *testing.T, start starter, o servers.Options) *servers.Server {
	t.Helper()
	begin := time.Now()
	server, err := start(t.Context(), o)
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s answers after %v", server.Name(), server.Version(), time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// within bounds one exchange with a server.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// notes is a store of one note, in each of the servers.
type notes interface {
	write(ctx context.Context, note string) error
	read(ctx context.Context) (string, error)
}

type redisNotes string

func (url redisNotes) client() *redis.Client {
	options, err := redis.ParseURL(string(url))
	if err != nil {
		panic(err)
	}
	options.MaxRetries = -1
	options.ContextTimeoutEnabled = true
	return redis.NewClient(options)
}

func (url redisNotes) write(ctx context.Context, note string) error {
	client := url.client()
	return errors.Join(client.Set(ctx, "note", note, 0).Err(), client.Close())
}

func (url redisNotes) read(ctx context.Context) (string, error) {
	client := url.client()
	note, err := client.Get(ctx, "note").Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return note, errors.Join(err, client.Close())
}

type postgresNotes string

func (url postgresNotes) write(ctx context.Context, note string) error {
	conn, err := pgx.Connect(ctx, string(url))
	if err != nil {
		return err
	}
	_, err1 := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS notes (note text)")
	_, err2 := conn.Exec(ctx, "INSERT INTO notes VALUES ($1)", note)
	return errors.Join(err1, err2, conn.Close(ctx))
}

func (url postgresNotes) read(ctx context.Context) (note string, err error) {
	conn, err := pgx.Connect(ctx, string(url))
	if err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, "SELECT note FROM notes").Scan(&note)
	return note, errors.Join(err, conn.Close(ctx))
}

type kafkaNotes string

func (addr kafkaNotes) write(ctx context.Context, note string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(string(addr)), kgo.DefaultProduceTopic("notes"))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "notes"); err != nil {
		return err
	}
	return client.ProduceSync(ctx, kgo.StringRecord(note)).FirstErr()
}

func (addr kafkaNotes) read(ctx context.Context) (string, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(string(addr)), kgo.ConsumeTopics("notes"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return "", err
	}
	defer client.Close()
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil {
		return "", err
	}
	return string(fetches.Records()[0].Value), nil
}

func TestServersSurviveAKill(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		start starter
		open  func(url string) notes
		want  string // what is left of the note
	}{
		{"redis", servers.Redis, func(url string) notes { return redisNotes(url) }, ""}, // Nothing is on disk.
		{"postgres", servers.Postgres, func(url string) notes { return postgresNotes(url) }, "hello"},
		{"kafka", servers.Kafka, func(url string) notes { return kafkaNotes(url) }, "hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := run(t, test.start, servers.Options{NoSync: true})
			store := test.open(server.URL())
			if err := store.write(within(t, 20*time.Second), "hello"); err != nil {
				t.Fatal(err)
			}
			first := server.Done()
			server.Kill()
			select {
			case <-first:
			default:
				t.Error("Done isn't closed after Kill")
			}
			if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Addr()); err == nil {
				t.Error("a killed server accepts connections", conn.Close())
			}
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := store.read(within(t, 20*time.Second)); err != nil || got != test.want {
				t.Errorf("after the kill it holds %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestServersKeepTheirDirectory(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		start starter
		open  func(url string) notes
	}{
		{"redis", servers.Redis, func(url string) notes { return redisNotes(url) }},
		{"postgres", servers.Postgres, func(url string) notes { return postgresNotes(url) }},
		{"kafka", servers.Kafka, func(url string) notes { return kafkaNotes(url) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// t.TempDir is closed to other users, as a home directory is.
			o := servers.Options{Dir: t.TempDir() + "/state"}
			first := run(t, test.start, o)
			if err := test.open(first.URL()).write(within(t, 20*time.Second), "kept"); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(first.Stop(), first.Stop()); err != nil {
				t.Fatal(err)
			}
			second := run(t, test.start, o)
			if got, err := test.open(second.URL()).read(within(t, 20*time.Second)); err != nil || got != "kept" {
				t.Errorf("the second start found %q, %v", got, err)
			}
		})
	}
}

func TestStopRemovesWhatIsTemporary(t *testing.T) {
	server := run(t, servers.Redis, servers.Options{})
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(server.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", server.Dir(), err)
	}
	if err := server.Restart(t.Context()); err == nil {
		t.Error("a stopped server was started again")
	}
}

func TestSuspendFreezesAllProcesses(t *testing.T) {
	server := run(t, servers.Postgres, servers.Options{NoSync: true})
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Suspend(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := conn.Exec(short, "SELECT 1"); err == nil {
		t.Error("a backend of a suspended server answered")
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := servers.PostgresVersion(within(t, 10*time.Second), server.URL()); err != nil {
		t.Errorf("after Resume: %v", err)
	}
	if err := server.Suspend(); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil { // A suspended one must not make us wait.
		t.Fatal(err)
	}
	_ = conn.Close(within(t, time.Second)) // Its server is gone.
}

func TestFailedStartQuotesTheLog(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "appendonlydir"), nil, 0o600); err != nil { // In the way of Redis.
		t.Fatal(err)
	}
	server, err := servers.Redis(t.Context(), servers.Options{Dir: dir})
	if errors.Is(err, servers.ErrNotInstalled) {
		t.Skip(err)
	}
	if err == nil {
		t.Fatalf("started on spoilt data: %v", server.Stop())
	}
	for _, fact := range []string{"start Redis on 127.0.0.1:", "ended by itself", "append-only"} {
		if !strings.Contains(err.Error(), fact) {
			t.Errorf("the error doesn't tell %q:\n%v", fact, err)
		}
	}
}

func TestTakenPortsAreRefused(t *testing.T) {
	first := run(t, servers.Redis, servers.Options{})
	_, port, err := net.SplitHostPort(first.Addr())
	if err != nil {
		t.Fatal(err)
	}
	taken, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	second, err := servers.Redis(t.Context(), servers.Options{Port: taken})
	if err == nil {
		t.Fatalf("started on a port that is taken: %v", second.Stop())
	}
	if !strings.Contains(err.Error(), first.Addr()) {
		t.Errorf("the error doesn't tell the port: %v", err)
	}
}

func TestMissingProgramsAreTold(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, start := range map[string]starter{"redis-server": servers.Redis, "Java": servers.Kafka} {
		_, err := start(t.Context(), servers.Options{})
		if !errors.Is(err, servers.ErrNotInstalled) || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// The registries are asked only on demand: ONEHOP_TEST_DOWNLOADS=1.
func TestPostgresFromRegistries(t *testing.T) {
	if os.Getenv("ONEHOP_TEST_DOWNLOADS") == "" {
		t.Skip("ONEHOP_TEST_DOWNLOADS is not set")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // Else a test run by root would use the shared cache.
		t.Fatal(err)
	}
	t.Setenv("ONEHOP_CACHE", dir)
	for _, from := range []string{"npm", "maven"} {
		t.Run(from, func(t *testing.T) {
			t.Setenv("ONEHOP_POSTGRES_BIN", from)
			server := run(t, servers.Postgres, servers.Options{NoSync: true})
			if err := postgresNotes(server.URL()).write(within(t, 10*time.Second), "hello"); err != nil {
				t.Fatal(err)
			}
		})
	}
}
