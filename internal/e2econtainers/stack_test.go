package e2econtainers

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/onehop/onehop/internal/containers"
	"github.com/onehop/onehop/internal/servers"
	"github.com/onehop/onehop/onehoptest"
)

// stack is a set of servers and the services on them, all in containers.
type stack struct {
	kafka, redis, postgres string
	namespace              string
	models                 string // a folder of this machine, copied into infer's container
	onehop                 *onehoptest.Onehop
}

// newStack starts the servers.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{namespace: "containers", models: filepath.Join(t.TempDir(), "models")}
	for url, start := range map[*string]func(context.Context) (*containers.Server, error){
		&s.kafka: containers.Kafka, &s.redis: containers.Redis, &s.postgres: containers.Postgres,
	} {
		begin := time.Now()
		server, err := start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s %s from %s answers after %s", server.Name(), server.Version(), server.Image(), time.Since(begin).Round(time.Millisecond))
		*url = server.URL()
	}
	return s
}

// start applies the definitions and runs all services until they are healthy.
func (s *stack) start(t *testing.T, definitions string) (ingest testcontainers.Container) {
	t.Helper()
	serveAt, inferAt := freeAddress(t), freeAddress(t)
	s.onehop = onehoptest.Start(t, onehoptest.Options{
		Kafka: strings.Split(s.kafka, ","), Redis: s.redis, Postgres: s.postgres, Namespace: s.namespace,
		FeaturesURL: "http://" + serveAt, InferenceURL: "http://" + inferAt,
	})
	s.onehop.ApplyText(t, definitions)
	ingest = s.run(t, "ingest", freeAddress(t), "ONEHOP_ADMIN_LISTEN")
	s.run(t, "serve", serveAt, "ONEHOP_LISTEN")
	s.run(t, "infer", inferAt, "ONEHOP_LISTEN", testcontainers.ContainerFile{
		HostFilePath: s.models, ContainerFilePath: "/", FileMode: 0o755,
	})
	return ingest
}

// run starts a service from its image. It is on the host's network, so that it reaches
// Kafka at the address that the broker tells everybody: the one that this test uses.
// (Docker Desktop has host networking in its settings.)
func (s *stack) run(t *testing.T, name, listen, variable string, files ...testcontainers.ContainerFile) testcontainers.Container {
	t.Helper()
	begin := time.Now()
	env := map[string]string{
		"ONEHOP_NAMESPACE": s.namespace, "ONEHOP_KAFKA": s.kafka, "ONEHOP_REDIS": s.redis, "ONEHOP_POSTGRES": s.postgres,
		"ONEHOP_HEARTBEAT": "200ms", "ONEHOP_INSTANCE": "only", "ONEHOP_LOG_FORMAT": "json",
		"ONEHOP_ADMIN_LISTEN": "127.0.0.1:0", // the image's port may be taken on the host
	}
	env[variable] = listen
	c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image:              image(name),
			Env:                env,
			Files:              files,
			HostConfigModifier: func(c *container.HostConfig) { c.NetworkMode = "host" },
			ConfigModifier: func(c *container.Config) { // the image's own, at another port and more often
				c.Healthcheck = &container.HealthConfig{
					Test:     []string{"CMD", "/usr/local/bin/onehop", "health", "http://" + listen + "/readyz"},
					Interval: 250 * time.Millisecond, Timeout: 3 * time.Second, Retries: 240,
				}
			},
			WaitingFor: wait.ForHealthCheck().WithStartupTimeout(time.Minute).WithPollInterval(100 * time.Millisecond),
		},
		Started: true,
		Logger:  tclog.TestLogger(t),
	})
	t.Cleanup(func() {
		if c == nil {
			return
		}
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, logOf(ctx, c))
		}
		stop(ctx, t, name, c)
	})
	if err != nil {
		t.Fatalf("%s from image %s: %v", name, image(name), err)
	}
	t.Logf("%s is healthy after %s", name, time.Since(begin).Round(time.Millisecond))
	return c
}

// stop ends a service as an orchestrator does, checks that it ends well, and removes its
// container.
func stop(ctx context.Context, t *testing.T, name string, c testcontainers.Container) {
	t.Helper()
	limit := 30 * time.Second
	if err := c.Stop(ctx, &limit); err != nil {
		t.Errorf("stop %s: %v", name, err)
	}
	if state, err := c.State(ctx); err != nil || state.ExitCode != 0 {
		t.Errorf("%s ended with status %d after SIGTERM, %v", name, state.ExitCode, err)
	}
	if err := c.Terminate(ctx, testcontainers.StopTimeout(0)); err != nil {
		t.Errorf("remove %s: %v", name, err)
	}
}

// kill ends a service without warning.
func kill(t *testing.T, c testcontainers.Container) {
	t.Helper()
	client, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ended, failed := client.ContainerWait(t.Context(), c.GetContainerID(), container.WaitConditionNotRunning)
	if err := client.ContainerKill(t.Context(), c.GetContainerID(), "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case err := <-failed:
		t.Fatal(err)
	}
}

func logOf(ctx context.Context, c testcontainers.Container) string {
	logs, err := c.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = logs.Close() }()
	text, err := io.ReadAll(io.LimitReader(logs, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// image of a service: ONEHOP_IMAGE_INGEST and so on, or what docker compose builds.
func image(service string) string {
	if name := os.Getenv("ONEHOP_IMAGE_" + strings.ToUpper(service)); name != "" {
		return name
	}
	return "onehop/" + service
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := servers.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// eventually tries until it succeeds or the time is over.
func eventually(t *testing.T, within time.Duration, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), within, fmt.Errorf("not within %s: %s", within, what))
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%v: %v", context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
