package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// prepare lets `run` use the servers of this test program.
func prepare(t *testing.T) {
	t.Helper()
	for kind, url := range map[testenv.Kind]string{
		testenv.KindKafka:    strings.Join(testenv.Kafka(t), ","),
		testenv.KindRedis:    testenv.Redis(t),
		testenv.KindPostgres: testenv.Postgres(t),
	} {
		t.Setenv(kind.Env(), url)
	}
}

func TestRunPassesServersAndStatus(t *testing.T) {
	prepare(t)
	got := filepath.Join(t.TempDir(), "urls")
	var out strings.Builder
	code, err := run(t.Context(), []string{
		"sh", "-c", `echo "$ONEHOP_TEST_REDIS" "$ONEHOP_TEST_POSTGRES" "$ONEHOP_TEST_KAFKA" >` + got + `; exit 7`,
	}, &out)
	if code != 7 || err != nil {
		t.Errorf("run = %d, %v; want the command's status 7", code, err)
	}
	urls, err := os.ReadFile(got)
	if err != nil || len(strings.Fields(string(urls))) != 3 {
		t.Errorf("the command saw %q, %v", urls, err)
	}
	for _, server := range []string{"\nRan against: Kafka ", ", Redis ", ", PostgreSQL "} {
		if !strings.Contains(out.String(), server) {
			t.Errorf("%q doesn't tell %q", out.String(), server)
		}
	}
}

func TestRunTellsWhatCannotRun(t *testing.T) {
	prepare(t)
	var out strings.Builder
	if code, err := run(t.Context(), nil, &out); code != 2 || err == nil {
		t.Errorf("without a command: %d, %v", code, err)
	}
	if code, err := run(t.Context(), []string{"/no/such/program"}, &out); code != 1 || err == nil {
		t.Errorf("without such a program: %d, %v", code, err)
	}
	t.Setenv("ONEHOP_TEST_REDIS", "redis://127.0.0.1:1/0")
	if code, err := run(t.Context(), []string{"true"}, &out); code != 1 || err == nil {
		t.Errorf("with a server that isn't there: %d, %v", code, err)
	}
}

func TestRunEndsTheCommandWhenInterrupted(t *testing.T) {
	prepare(t)
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	done := make(chan int)
	go func() {
		code, _ := run(ctx, []string{"sh", "-c", "mkfifo " + started + "; echo >" + started + "; exec sleep 60"}, &strings.Builder{})
		done <- code
	}()
	waitFor(t, started)
	cancel()
	if code := <-done; code == 0 {
		t.Error("an interrupted command counts as success")
	}
}

// waitFor returns when the named pipe was written to: reading it waits, once there is a pipe.
func waitFor(t *testing.T, pipe string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		if _, err := os.ReadFile(pipe); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the command didn't start")
		}
	}
}
