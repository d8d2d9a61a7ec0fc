package onnx_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/provider"
)

// processor is a device of the processor's own memory: what is a GPU's in graphs, but for the graphs.
type processor struct {
	allocated map[unsafe.Pointer][]byte
	pinned    map[*byte]bool
	calls     int
	failAt    int    // the call that fails; 0 is none
	stuckAt   int    // the upload from which on nothing arrives; 0 is none
	uploads   int    // so far
	arrived   func() // called by each upload, if any
}

var errDevice = errors.New("the device is broken")

func newProcessor() *processor {
	return &processor{allocated: map[unsafe.Pointer][]byte{}, pinned: map[*byte]bool{}}
}

func (p *processor) call() error {
	if p.calls++; p.calls == p.failAt {
		return errDevice
	}
	return nil
}

func (p *processor) Memory() (name string, id int) { return "Cpu", 0 }
func (p *processor) Use() error                    { return p.call() }
func (p *processor) Wait() error                   { return p.call() }

func (p *processor) Allocate(size int) (unsafe.Pointer, error) {
	if err := p.call(); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	p.allocated[unsafe.Pointer(unsafe.SliceData(memory))] = memory
	return unsafe.Pointer(unsafe.SliceData(memory)), nil
}

func (p *processor) Free(memory unsafe.Pointer) error {
	bytes := p.allocated[memory]
	delete(p.allocated, memory)
	return unix.Munmap(bytes)
}

func (p *processor) Pin(memory []byte) error {
	p.pinned[unsafe.SliceData(memory)] = true
	return p.call()
}

func (p *processor) Unpin(memory []byte) error {
	if !p.pinned[unsafe.SliceData(memory)] {
		return errors.New("it was not pinned")
	}
	delete(p.pinned, unsafe.SliceData(memory))
	return nil
}

func (p *processor) Upload(to unsafe.Pointer, from []byte) error {
	if p.arrived != nil {
		p.arrived()
	}
	if p.uploads++; p.stuckAt == 0 || p.uploads < p.stuckAt {
		copy(p.allocated[to], from)
	}
	return p.call()
}

func (p *processor) Download(to []byte, from unsafe.Pointer) error {
	copy(to, p.allocated[from])
	return p.call()
}

func capture(t *testing.T, p *processor, model []byte, sizes ...int) (*onnx.Session, error) {
	t.Helper()
	session := onnxtest.Load(t, model, onnx.Options{})
	return session, onnx.Capture(onnxtest.Open(t), session, p, sizes)
}

func TestGraphsScoreAsRunsDo(t *testing.T) {
	p := newProcessor()
	session, err := capture(t, p, onnxtest.MLP(widths, 7), 1, 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for caller := range 4 {
		batch := newBatch(t, session, 32)
		callers.Go(func() {
			for i := range 20 {
				rows := []int{1, 8, 32}[(caller+i)%3]
				for j := range batch.Memory().Float32(0) {
					batch.Memory().Float32(0)[j] = float32((caller+1)*(i+j)%11) / 11
				}
				if err := batch.Run(t.Context(), rows); err != nil {
					t.Error(err)
					return
				}
				compare(t, fmt.Sprintf("caller %d, run %d", caller, i), batch, rows, 1e-5)
			}
		})
	}
	callers.Wait()
	if len(p.allocated) != 2 || len(p.pinned) != 4 {
		t.Errorf("%d places on the device and %d batches are pinned, want 2 and 4", len(p.allocated), len(p.pinned))
	}
	batch := newBatch(t, session, 32)
	if err := batch.Run(t.Context(), 9); err == nil || !strings.Contains(err.Error(), "no graph was captured for 9 rows") {
		t.Errorf("9 rows: %v", err)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	if len(p.allocated) != 0 || len(p.pinned) != 0 {
		t.Errorf("%d places on the device and %d batches are left", len(p.allocated), len(p.pinned))
	}
}

func TestAGraphThatRepeatsItsFirstAnswerIsRefused(t *testing.T) {
	p := newProcessor()
	p.stuckAt = 3 // what arrives is the first rows, and those that the graph is captured with
	if _, err := capture(t, p, onnxtest.MLP(widths, 7), 4); !errors.Is(err, onnx.ErrBadModel) || !strings.Contains(err.Error(), "replayed") {
		t.Errorf("error %v, want a bad model that cannot be replayed", err)
	}
}

func TestModelsThatHaveNoGraphsAreRefused(t *testing.T) {
	if _, err := capture(t, newProcessor(), onnxtest.MLP(widths, 7)); !errors.Is(err, onnx.ErrBadModel) {
		t.Errorf("without sizes: %v", err)
	}
	text := onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "text", Type: onnxtest.String, Shape: []int64{-1, 1}}},
		Outputs: []onnxtest.Value{{Name: "length", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Nodes: []onnxtest.Node{{
			Op: "LabelEncoder", Domain: "ai.onnx.ml", Inputs: []string{"text"}, Outputs: []string{"length"},
			Attributes: [][]byte{onnxtest.Strings("keys_strings", "a"), onnxtest.Floats("values_floats", 1)},
		}},
	}
	if _, err := capture(t, newProcessor(), text.Bytes(), 4); err == nil || !strings.Contains(err.Error(), "texts have no place on a GPU") {
		t.Errorf("texts: %v", err)
	}
}

// TestADeviceThatBreaks has each call to the device fail once, until none is left to fail.
func TestADeviceThatBreaks(t *testing.T) {
	for failAt := 1; ; failAt++ {
		p := newProcessor()
		p.failAt = failAt
		session, err := capture(t, p, onnxtest.MLP(widths, 7), 2, 5)
		if err == nil {
			var batch *onnx.Batch
			if batch, err = session.NewBatch(5); err == nil {
				err = errors.Join(batch.Run(t.Context(), 5), batch.Close())
			}
		}
		if closed := session.Close(); closed != nil {
			t.Errorf("call %d: close: %v", failAt, closed)
		}
		if len(p.allocated) != 0 {
			t.Errorf("call %d: %d places on the device are left", failAt, len(p.allocated))
		}
		if p.calls < failAt {
			if failAt < 20 || err != nil {
				t.Errorf("%d calls and then %v: they are not all that there is", p.calls, err)
			}
			return
		}
		if !errors.Is(err, errDevice) {
			t.Errorf("call %d: error %v, want the device's", failAt, err)
		}
	}
}

func TestARunThatWaitsForAGraphEndsWithItsContext(t *testing.T) {
	p := newProcessor()
	session, err := capture(t, p, onnxtest.MLP(widths, 7), 4)
	if err != nil {
		t.Fatal(err)
	}
	first, second := newBatch(t, session, 4), newBatch(t, session, 4)
	began, end := make(chan struct{}), make(chan struct{})
	p.arrived = func() {
		close(began)
		<-end
	}
	done := make(chan error, 1)
	go func() { done <- first.Run(t.Context(), 4) }()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := second.Run(ctx, 4); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the run that waits: %v, want its deadline", err)
	}
	close(end)
	if err := <-done; err != nil {
		t.Errorf("the run before it: %v", err)
	}
}

// TestNothingIsOnAGPUWhileAGraphIsCaptured: a run of another model waits for the capture, and for nothing else of the load.
func TestNothingIsOnAGPUWhileAGraphIsCaptured(t *testing.T) {
	p := newProcessor()
	session, err := capture(t, p, onnxtest.MLP(widths, 7), 4)
	if err != nil {
		t.Fatal(err)
	}
	batch := newBatch(t, session, 4)
	began, done := make(chan struct{}, 8), make(chan error, 8)
	p.arrived = func() { began <- struct{}{} }
	run := func() { done <- batch.Run(t.Context(), 4) }
	ends := func(what string) {
		patience := time.NewTimer(5 * time.Second)
		defer patience.Stop()
		select {
		case err := <-done:
			<-began
			if err != nil {
				t.Error(err)
			}
		case <-patience.C:
			t.Errorf("a run waits %s", what)
		}
	}
	other, uploads := newProcessor(), 0
	other.arrived = func() {
		switch uploads++; uploads {
		case 1:
			go run()
			ends("for a load that captures nothing yet")
		case 2:
			go run()
			patience := time.NewTimer(100 * time.Millisecond)
			defer patience.Stop()
			select {
			case <-began:
				t.Error("a run began while a graph was captured")
				began <- struct{}{}
			case <-patience.C:
			}
		case 3:
			ends("after the capture")
		}
	}
	if _, err := capture(t, other, onnxtest.MLP(widths, 8), 4); err != nil {
		t.Fatal(err)
	}
	if uploads != 3 {
		t.Errorf("%d uploads, want those without a graph, captured and replayed", uploads)
	}
}

func TestGraphsOfCUDA(t *testing.T) {
	for _, name := range []string{provider.CUDA, provider.TensorRT} {
		t.Run(name, func(t *testing.T) {
			sizes := []int{1, 7, 33}
			session := loadOnGPU(t, onnx.Options{Provider: provider.Options{Name: name, Graphs: true}, Sizes: sizes})
			batch := newBatch(t, session, 33)
			for round := range 3 {
				for _, rows := range slices.Backward(sizes) {
					for j := range batch.Memory().Float32(0) {
						batch.Memory().Float32(0)[j] = float32((round+j)%5) / 5
					}
					checkRun(t, fmt.Sprint("round ", round), batch, rows, 1e-3)
				}
			}
		})
	}
}
