package oip_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/oip"
	"github.com/onehop/onehop/internal/servers"
)

const (
	installTimeout = 4 * time.Minute
	startTimeout   = time.Minute
)

// mlserver is a real MLServer with a model of scikit-learn.
type mlserver struct {
	bin, dir   string
	http, grpc int // ports
	rows       []float32
	scores     []float64

	process *exec.Cmd
	ended   chan struct{}
	log     bytes.Buffer // of the process under way; whole when it ended
}

// startMLServer installs it if need be, trains a model and serves it until the end of the test. Where pip can't install it, the test is
// skipped and says so.
func startMLServer(t *testing.T) *mlserver {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	install := exec.CommandContext(ctx, "../../scripts/mlserver.sh")
	install.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	install.Cancel = func() error { return syscall.Kill(-install.Process.Pid, syscall.SIGKILL) }
	var stderr bytes.Buffer
	install.Stderr = &stderr
	bin, err := install.Output()
	if err != nil {
		t.Skipf("SKIPPED, nothing was tested: MLServer cannot be installed: %v\n%s", err, stderr.Bytes())
	}
	s := &mlserver{bin: string(bytes.TrimSpace(bin)), dir: t.TempDir()}
	s.train(ctx, t)
	ports := map[string]int{}
	for _, name := range []string{"http_port", "grpc_port", "metrics_port"} {
		if ports[name], err = servers.FreePort(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.http, s.grpc = ports["http_port"], ports["grpc_port"]
	settings := fmt.Sprintf(`{"host": "127.0.0.1", "http_port": %d, "grpc_port": %d, "metrics_port": %d, "parallel_workers": 0}`, s.http, s.grpc, ports["metrics_port"])
	if err := os.WriteFile(filepath.Join(s.dir, "settings.json"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

func (s *mlserver) address() string { return fmt.Sprintf("127.0.0.1:%d", s.grpc) }

func (s *mlserver) train(ctx context.Context, t *testing.T) {
	t.Helper()
	script, err := filepath.Abs("testdata/mlserver/make.py")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "python"), script, s.dir).Output()
	if err != nil {
		failed, _ := errors.AsType[*exec.ExitError](err)
		t.Fatalf("train the model: %v\n%s", err, failed.Stderr)
	}
	var trained struct {
		Rows   []float32
		Scores []float64
	}
	if err := json.Unmarshal(out, &trained); err != nil {
		t.Fatal(err)
	}
	s.rows, s.scores = trained.Rows, trained.Scores
}

// start starts the process and waits until it says that it is ready.
func (s *mlserver) start(t *testing.T) {
	t.Helper()
	s.log.Reset()
	s.process = exec.Command(filepath.Join(s.bin, "mlserver"), "start", s.dir) //nolint:noctx // it is killed when the test says so
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		_ = s.process.Wait() // it is killed
	}()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !s.ready(ctx) {
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
			s.kill()
		case <-s.ended:
		}
		t.Fatalf("MLServer did not start: %v\n%s", ctx.Err(), s.log.Bytes())
	}
}

func (s *mlserver) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/v2/models/ranker/ready", s.http), http.NoBody)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }() // only read from
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

// kill ends the process with its children, and waits for it.
func (s *mlserver) kill() {
	_ = syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	<-s.ended
}

// check compares the scores of some rows with those that Python computed.
func (s *mlserver) check(t *testing.T, b *oip.Batch, rows int) {
	t.Helper()
	copy(b.Memory().Float32(0), s.rows)
	if err := b.Run(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	for i, score := range b.Memory().Scores(0) {
		if score != float32(s.scores[i]) {
			t.Fatalf("row %d of %d scores %v; in Python %v", i, rows, score, s.scores[i])
		}
	}
}

// TestMLServer: a real server loads, scores as Python does, goes away, and is taken back when it has come back.
func TestMLServer(t *testing.T) {
	server := startMLServer(t)
	o := oip.Options{Endpoints: []string{server.address()}, Model: "ranker", Version: "3"}
	wrong := o
	wrong.Model = "nobody"
	if _, err := oip.Load(t.Context(), wrong, "predict"); err == nil {
		t.Error("a model that is not there was loaded")
	}
	m, err := oip.Load(t.Context(), o, "predict")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	b := newBatch(t, m, 300)
	for _, rows := range []int{300, 1, 42} {
		server.check(t, b, rows)
	}
	server.kill()
	for range 6 {
		if failed := failure(t.Context(), t, m); !failed.Unavailable() {
			t.Errorf("without a server: outcome %s of %v", failed.Outcome, failed)
		}
	}
	server.start(t)
	recovers(t, m)
	server.check(t, b, 300)
	if m.Changed(t.Context()) {
		t.Error("the same model is another after a restart")
	}
}
