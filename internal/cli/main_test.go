package cli_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/onehop/onehop/internal/cli"
	"github.com/onehop/onehop/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// run runs the tool as from a shell script, with nothing of ours in its environment.
func run(t *testing.T, args ...string) (code int, out, complaints string) {
	t.Helper()
	for _, name := range []string{"KAFKA", "REDIS", "POSTGRES", "NAMESPACE"} {
		t.Setenv("ONEHOP_"+name, "")
	}
	var stdout, stderr buffer
	code = cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

// mustRun fails the test when the tool does not exit with 0.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	code, out, complaints := run(t, args...)
	if code != 0 {
		t.Fatalf("onehop %s: exit status %d\n%s", strings.Join(args, " "), code, complaints)
	}
	return out
}

// buffer is a bytes.Buffer that may be read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
