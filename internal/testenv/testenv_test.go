package testenv_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestServersAreRealAndShared(t *testing.T) {
	if first, second := testenv.Redis(t), testenv.Redis(t); first != second {
		t.Errorf("two Redis servers, %s and %s", first, second)
	}
	if _, err := servers.RedisVersion(t.Context(), testenv.Redis(t)); err != nil {
		t.Error(err)
	}
	if _, err := servers.PostgresVersion(t.Context(), testenv.Postgres(t)); err != nil {
		t.Error(err)
	}
	if _, err := servers.KafkaVersion(t.Context(), testenv.Kafka(t)); err != nil {
		t.Error(err)
	}
}

func TestStartPrefersTheEnvironment(t *testing.T) {
	for kind, url := range map[testenv.Kind]string{
		testenv.KindKafka:    strings.Join(testenv.Kafka(t), ","),
		testenv.KindRedis:    testenv.Redis(t),
		testenv.KindPostgres: testenv.Postgres(t),
	} {
		t.Setenv(kind.Env(), url)
		server, err := testenv.Start(t.Context(), kind)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if server.URL != url || !strings.Contains(server.Description, "(from "+kind.Env()+")") {
			t.Errorf("%s: got %+v", kind, server)
		}
		if err := server.Stop(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := servers.RedisVersion(t.Context(), testenv.Redis(t)); err != nil {
		t.Errorf("a server that was only named was stopped: %v", err)
	}
}

func TestStartTellsAWrongEnvironment(t *testing.T) {
	t.Setenv("ONEHOP_TEST_REDIS", "redis://127.0.0.1:1/0")
	_, err := testenv.Start(t.Context(), testenv.KindRedis)
	if err == nil || !strings.Contains(err.Error(), "ONEHOP_TEST_REDIS") {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}

func TestStartTellsWhatToInstall(t *testing.T) {
	t.Setenv("ONEHOP_TEST_REDIS", "")
	t.Setenv("PATH", t.TempDir())
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	server, err := testenv.Start(t.Context(), testenv.KindRedis)
	if err == nil {
		t.Fatalf("started %s; stop: %v", server.Description, server.Stop())
	}
	for _, way := range []string{"ONEHOP_TEST_REDIS", "apt-get install redis-server", "engine.sh"} {
		if !strings.Contains(err.Error(), way) {
			t.Errorf("the error doesn't tell %q:\n%v", way, err)
		}
	}
}

func TestNamespace(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z][a-z0-9_]{0,23}$`)
	seen := map[string]bool{}
	for _, name := range []string{"x", "x", "9 Ünïcode/with a long, long name"} {
		t.Run(name, func(t *testing.T) {
			got := testenv.Namespace(t)
			if !valid.MatchString(got) || seen[got] {
				t.Errorf("%q is not valid or not new", got)
			}
			seen[got] = true
		})
	}
	if got := testenv.Namespace(t); !strings.HasPrefix(got, "namespace_") {
		t.Errorf("%q doesn't tell the test", got)
	}
}
