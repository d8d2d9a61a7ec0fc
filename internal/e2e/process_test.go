// Package e2e is the integration suite: it runs the three services as processes
// against real servers and drives them only through Kafka and RPC.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/internal/testenv"
	"github.com/onehop/onehop/onehoptest"
)

func TestMain(m *testing.M) { testenv.Main(m, func() { _ = os.RemoveAll(built) }) }

// built is the folder of the services, empty until binaries has built them.
var built string

// binaries builds the services once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "onehop-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	build := exec.Command("go", "build", "-race", "-o", dir+"/", "../../cmd/ingest", "../../cmd/serve", "../../cmd/infer")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the services: %w\n%s", err, out)
	}
	return dir, nil
})

// stack is a set of servers and the services on them.
type stack struct {
	kafka           []string
	redis, postgres string
	namespace       string
	models          string
	features        string // URLs of the services
	inference       string
	snapshot        string
	instance        string // of ingest; empty for none
	startup         string // timeout
	schemas         string // URL of the schema registry; empty for none
	onehop          *onehoptest.Onehop
	infer           *process
}

// process is a running service.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
	err  error
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newStack(t *testing.T) *stack {
	t.Helper()
	return &stack{
		kafka: testenv.Kafka(t), redis: testenv.Redis(t), postgres: testenv.Postgres(t),
		namespace: testenv.Namespace(t), startup: "20s", snapshot: filepath.Join(t.TempDir(), "definitions.json"),
	}
}

// ownRedis gives the stack a Redis that no other test uses, so that it may be stopped and
// emptied.
func (s *stack) ownRedis(t *testing.T) *servers.Server {
	t.Helper()
	server, err := servers.Redis(t.Context(), servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	s.redis = server.URL()
	return server
}

// flushRedis empties the stack's own Redis.
func (s *stack) flushRedis(t *testing.T) {
	t.Helper()
	options, err := redis.ParseURL(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// environment is how a service is configured.
func (s *stack) environment(listen, admin string) []string {
	return append(os.Environ(), "ONEHOP_NAMESPACE="+s.namespace, "ONEHOP_KAFKA="+strings.Join(s.kafka, ","),
		"ONEHOP_REDIS="+s.redis, "ONEHOP_POSTGRES="+s.postgres, "ONEHOP_LISTEN="+listen, "ONEHOP_ADMIN_LISTEN="+admin,
		"ONEHOP_MODELS="+s.models, "ONEHOP_HEARTBEAT=200ms", "ONEHOP_STARTUP_TIMEOUT="+s.startup, "ONEHOP_SNAPSHOT="+s.snapshot, "ONEHOP_INSTANCE="+s.instance,
		"ONEHOP_SCHEMA_REGISTRY="+s.schemas)
}

// run starts a service. Its log is printed when the test fails.
func (s *stack) run(t *testing.T, name, listen, admin string) *process {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, log: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(dir, name))
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = s.environment(listen, admin), p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.log)
		}
		if strings.Contains(p.log.String(), "DATA RACE") {
			t.Errorf("%s has a data race:\n%s", name, p.log)
		}
	})
	return p
}

// stop ends a service as an orchestrator does, and checks that it ends well.
func (p *process) stop(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("%s ended with %v after SIGTERM", p.name, p.err)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("%s did not end within 30 s of SIGTERM", p.name)
		p.kill()
	}
}

// kill ends a service without warning.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start runs all services, with the definitions applied, and waits until they are
// ready.
func (s *stack) start(t *testing.T, definitions string) (ingest *process) {
	t.Helper()
	serveAt, inferAt := freeAddress(t), freeAddress(t)
	s.features = "http://" + serveAt
	if s.models != "" {
		s.inference = "http://" + inferAt
	}
	s.onehop = onehoptest.Start(t, onehoptest.Options{
		Kafka: s.kafka, Redis: s.redis, Postgres: s.postgres, Namespace: s.namespace,
		FeaturesURL: s.features, InferenceURL: s.inference,
	})
	if strings.Contains(definitions, "\n") {
		s.onehop.ApplyText(t, definitions)
	} else {
		s.onehop.Apply(t, definitions)
	}
	ingest = s.startIngest(t)
	s.waitReady(t, s.run(t, "serve", serveAt, "127.0.0.1:0"), s.features)
	if s.models != "" {
		s.infer = s.run(t, "infer", inferAt, "127.0.0.1:0")
		s.waitReady(t, s.infer, s.inference)
	}
	return ingest
}

func (s *stack) startIngest(t *testing.T) *process {
	t.Helper()
	admin := freeAddress(t)
	p := s.run(t, "ingest", "127.0.0.1:0", admin)
	s.waitReady(t, p, "http://"+admin)
	return p
}

// waitReady waits for /readyz.
func (s *stack) waitReady(t *testing.T, p *process, url string) {
	t.Helper()
	eventually(t, 30*time.Second, p.name+" is ready", func() error {
		select {
		case <-p.done:
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.log)
		default:
		}
		return get(t, url+"/readyz", nil)
	})
}

// get fetches a page; anything but 200 is an error. The body goes to into if not nil.
func get(t *testing.T, url string, into *string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		return err
	}
	if into != nil {
		*into = body.String()
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, res.Status, body.String())
	}
	return nil
}

// eventually tries until it succeeds or the time is over.
func eventually(t *testing.T, within time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.After(within)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not within %s: %s: %v", within, what, err)
		case <-ticker.C:
		}
	}
}
