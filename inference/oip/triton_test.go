package oip_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/oip"
)

// tritonRows is max_batch_size of the models in testdata/triton/serve.py.
const tritonRows = 64

// hasLibrary ends well where Python's library is, which Triton runs models of Python with.
const hasLibrary = `import ctypes, os, sysconfig
name = sysconfig.get_config_var("INSTSONAME")
path = os.path.join(sysconfig.get_config_var("LIBDIR"), name)
ctypes.CDLL(path if os.path.exists(path) else name)`

// startTriton serves the models of testdata/triton until the end of the test, and says at which gRPC port.
func startTriton(t *testing.T) (*process, oip.Options) {
	t.Helper()
	python := filepath.Join(install(t, "triton"), "python")
	if out, err := exec.CommandContext(t.Context(), python, "-c", hasLibrary).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, nothing was tested: Triton needs Python with its shared library: %v\n%s", err, out)
	}
	ports := freePorts(t, 2)
	p := start(t, ready(ports[0], "slow"), python, "testdata/triton/serve.py", filepath.Join(t.TempDir(), "triton"), strconv.Itoa(ports[0]), strconv.Itoa(ports[1]))
	t.Cleanup(p.stop) // only so does it give back its shared memory
	return p, oip.Options{Endpoints: []string{fmt.Sprintf("127.0.0.1:%d", ports[1])}, Model: "ranker", Version: "3"}
}

// TestTriton: a real server runs inputs and outputs of all types, bounds and joins runs, fails, is late and stops.
func TestTriton(t *testing.T) {
	server, o := startTriton(t)
	t.Run("types", func(t *testing.T) { tritonTypes(t, o) })
	t.Run("load", func(t *testing.T) { tritonLoad(t, o) })
	t.Run("joins runs", func(t *testing.T) { tritonJoins(t, o) })
	t.Run("fails", func(t *testing.T) { tritonFails(t, o) })
	t.Run("is late", func(t *testing.T) { tritonIsLate(t, o) })
	t.Run("stops", func(t *testing.T) { tritonStops(t, o, server) })
}

func loadOutput(t *testing.T, o oip.Options, output string) *oip.Model {
	t.Helper()
	m, err := oip.Load(t.Context(), o, output)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// tritonTypes compares each output with what it must be of the inputs.
func tritonTypes(t *testing.T, o oip.Options) {
	score := func(i int) float32 {
		return float32(i) + 0.5 + float32(-i) + 2*float32(3-i) + 4*0.25*float32(i) + 8*1.5 + 16*float32(i%3)
	}
	for output, want := range map[string]func(row int) float32{
		"scores": score, "exact": score,
		"halves": func(int) float32 { return 1.5 },
		"ages":   func(i int) float32 { return float32(-i) },
		"hours":  func(i int) float32 { return float32(3 - i) },
	} {
		m := loadOutput(t, o, output)
		b := newBatch(t, m, tritonRows)
		memory := b.Memory()
		for i := range tritonRows {
			memory.Float32(0)[i*100], memory.Float32(0)[i*100+99] = float32(i), 0.5
			memory.Int64(1)[i], memory.Int32(2)[i] = int64(-i), int32(3-i)
			memory.Float64(3)[i], memory.Float16(4)[i] = float64(i)/4, 0x3e00 // 1.5
			memory.Strings(5)[i] = []string{"", "é", "b€"}[i%3]
		}
		for _, rows := range []int{tritonRows, 1, 42} {
			if err := b.Run(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
			for i, got := range memory.Scores(0) {
				if got != want(i) {
					t.Fatalf("%s of row %d of %d is %v, want %v", output, i, rows, got, want(i))
				}
			}
		}
	}
}

// tritonLoad: what is not there is not loaded, and the most rows are those of max_batch_size.
func tritonLoad(t *testing.T, o oip.Options) {
	for _, change := range []func(*oip.Options){
		func(o *oip.Options) { o.Model = "nobody" }, func(o *oip.Options) { o.Version = "4" }, func(o *oip.Options) { o.Version = "x" },
	} {
		wrong := o
		change(&wrong)
		if _, err := oip.Load(t.Context(), wrong, "scores"); err == nil {
			t.Errorf("%s was loaded", &wrong)
		}
	}
	m := loadOutput(t, o, "scores")
	if m.FixedRows() != 0 || m.Changed(t.Context()) {
		t.Errorf("fixed to %d rows, changed by itself: %v", m.FixedRows(), m.Changed(t.Context()))
	}
	if err := m.Try(t.Context(), tritonRows); err != nil {
		t.Error(err)
	}
	err := m.Try(t.Context(), tritonRows+1)
	if failed, ok := errors.AsType[*oip.Error](err); !ok || failed.Outcome != oip.Refused || !strings.Contains(err.Error(), "must be <= 64") {
		t.Errorf("more rows than max_batch_size: %v", err)
	}
}

// tritonJoins: runs at once are joined by dynamic batching, and each has its own rows back.
func tritonJoins(t *testing.T, o oip.Options) {
	m := loadOutput(t, o, "together")
	var joined atomic.Bool
	for attempt := 0; !joined.Load() && attempt < 20; attempt++ { // on a busy machine they may come one by one
		var all sync.WaitGroup
		for rows := 1; rows <= 5; rows++ {
			b := newBatch(t, m, rows)
			all.Go(func() {
				if err := b.Run(t.Context(), rows); err != nil {
					t.Error(err)
				}
				if scores := b.Memory().Scores(0); len(scores) == rows && scores[0] > float32(rows) {
					joined.Store(true)
				}
			})
		}
		all.Wait()
	}
	if !joined.Load() {
		t.Error("no runs were joined")
	}
}

// tritonFails: a model that raises has failed, and runs the next time.
func tritonFails(t *testing.T, o oip.Options) {
	m := loadOutput(t, o, "scores")
	b := newBatch(t, m, 2)
	b.Memory().Float32(0)[0] = float32(math.NaN())
	err := b.Run(t.Context(), 2)
	if failed, ok := errors.AsType[*oip.Error](err); !ok || failed.Outcome != oip.Failed || !strings.Contains(err.Error(), "a feature is NaN") {
		t.Errorf("a model that raises: %v", err)
	}
	b.Memory().Float32(0)[0] = 1
	if err := b.Run(t.Context(), 2); err != nil || b.Memory().Scores(0)[0] != 1 {
		t.Errorf("afterwards: %v", err)
	}
}

// tritonIsLate: the caller's deadline and the model's own timeout are kept.
func tritonIsLate(t *testing.T, o oip.Options) {
	o.Model, o.Version = "slow", ""
	own := o
	own.Timeout = 300 * time.Millisecond
	for _, m := range []*oip.Model{loadOutput(t, o, "scores"), loadOutput(t, own, "scores")} {
		b := newBatch(t, m, 2)
		b.Memory().Float32(0)[0] = 1
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		began := time.Now()
		err := b.Run(ctx, 2)
		cancel()
		if failed, ok := errors.AsType[*oip.Error](err); !ok || failed.Outcome != oip.TimedOut || time.Since(began) > 10*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	}
	m := loadOutput(t, o, "scores")
	recovers(t, m)
}

// tritonStops: while it stops and when it has, callers have their scores or are told to try again.
func tritonStops(t *testing.T, o oip.Options, server *process) {
	m := loadOutput(t, o, "scores")
	b := newBatch(t, m, 1)
	run := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Run(ctx, 1)
		if failed, ok := errors.AsType[*oip.Error](err); err != nil && (!ok || !failed.Unavailable()) {
			t.Errorf("while it stops: %v", err)
		}
		return err == nil
	}
	var stopping sync.WaitGroup
	stopping.Go(server.stop)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for stopped := false; !stopped; {
		run()
		select {
		case <-server.ended:
			stopped = true
		case <-tick.C:
		}
	}
	stopping.Wait()
	if run() {
		t.Error("a server that has stopped gives scores")
	}
}
