package oip_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/onehop/onehop/inference/oip"
)

// mlserver is a real MLServer with a model of scikit-learn.
type mlserver struct {
	*process

	bin, dir   string
	http, grpc int // ports
	rows       []float32
	scores     []float64
}

// startMLServer trains a model and serves it until the end of the test.
func startMLServer(t *testing.T) *mlserver {
	t.Helper()
	s := &mlserver{bin: install(t, "mlserver"), dir: t.TempDir()}
	s.train(t)
	ports := freePorts(t, 3)
	s.http, s.grpc = ports[0], ports[1]
	settings := fmt.Sprintf(`{"host": "127.0.0.1", "http_port": %d, "grpc_port": %d, "metrics_port": %d, "parallel_workers": 0}`, s.http, s.grpc, ports[2])
	if err := os.WriteFile(filepath.Join(s.dir, "settings.json"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	return s
}

func (s *mlserver) start(t *testing.T) {
	t.Helper()
	s.process = start(t, ready(s.http, "ranker"), filepath.Join(s.bin, "mlserver"), "start", s.dir)
}

func (s *mlserver) address() string { return fmt.Sprintf("127.0.0.1:%d", s.grpc) }

func (s *mlserver) train(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
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
