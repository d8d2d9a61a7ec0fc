package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/onnx/binding"
	"github.com/onehop/onehop/inference/tensor"
)

// device is where graphs read and write: a GPU (package cuda), and in tests the processor.
type device interface {
	Memory() (name string, id int)
	Use() error
	Allocate(size int) (unsafe.Pointer, error)
	Free(unsafe.Pointer) error
	Pin(memory []byte) error
	Unpin(memory []byte) error
	Upload(to unsafe.Pointer, from []byte) error
	Download(to []byte, from unsafe.Pointer) error
	Wait() error
}

// capturing is held for writing while a graph is captured, and for reading by runs on a GPU and by what frees memory of it: CUDA ends a
// capture, or refuses the other call, when another thread allocates or waits meanwhile (cudaStreamCaptureModeGlobal). loading is held by loads
// of models for a GPU: one may build an engine for minutes, for which no capture, and behind it no run, is to wait.
var (
	capturing sync.RWMutex
	loading   sync.Mutex
)

// graphs runs a model by CUDA graphs: all that a run launches on the GPU, captured once for each number of rows and launched as one
// from then on. A graph reads and writes the addresses that it was captured with, so all runs go through one place on the device, one
// after the other; and ONNX Runtime keeps graphs by thread, so one thread does them all.
type graphs struct {
	device          device
	inputs, outputs []slot
	sizes           map[int]*graph
	work            chan func()
	thread          sync.WaitGroup
}

// slot is where a tensor lies on the device, with room for the most rows.
type slot struct {
	info tensor.Info
	data unsafe.Pointer
}

// graph is that of one number of rows.
type graph struct {
	binding *binding.Binding
	options *ort.RunOptions // with the graph's number, which is that of its rows
}

// newGraphs captures the session's graphs, one for each of the sizes, which ascend, and tries each. The caller is loading the model. It closes
// them, with an error too, before the session is destroyed.
func newGraphs(s *Session, api *binding.API, d device, sizes []int) (*graphs, error) {
	g := &graphs{device: d, sizes: map[int]*graph{}, work: make(chan func())}
	g.thread.Go(g.serve)
	if len(sizes) == 0 {
		return g, fmt.Errorf("%w: graphs are captured for certain numbers of rows, and none is given", ErrBadModel)
	}
	return g, g.do(func() error {
		if err := g.allocate(s, sizes[len(sizes)-1]); err != nil {
			return err
		}
		for _, rows := range sizes {
			if err := g.add(s, api, rows); err != nil {
				return fmt.Errorf("graph of %d rows: %w", rows, err)
			}
		}
		return nil
	})
}

// serve is the thread of all that is done on the device.
func (g *graphs) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for f := range g.work {
		f()
	}
}

// do has the thread do something, and waits for it.
func (g *graphs) do(f func() error) error {
	done := make(chan error, 1)
	g.work <- func() { done <- f() }
	return <-done
}

func (g *graphs) allocate(s *Session, rows int) error {
	if err := g.device.Use(); err != nil {
		return err
	}
	place := func(infos []tensor.Info) (slots []slot, err error) {
		for _, info := range infos {
			if info.Type == tensor.String {
				return slots, fmt.Errorf("%w: input %s: texts have no place on a GPU", ErrBadModel, info)
			}
			data, err := g.device.Allocate(rows * info.Width() * info.Type.Size())
			if err != nil {
				return slots, err
			}
			slots = append(slots, slot{info, data})
		}
		return slots, nil
	}
	var err error
	if g.inputs, err = place(s.inputs); err == nil {
		g.outputs, err = place(s.outputs)
	}
	return err
}

// add captures the graph of a number of rows, and tries it.
func (g *graphs) add(s *Session, api *binding.API, rows int) (err error) {
	bind := func(slots []slot) (tensors []binding.Tensor) {
		for _, at := range slots {
			tensors = append(tensors, binding.Tensor{
				Name: at.info.Name, Type: ortType(at.info.Type), Shape: append([]int64{int64(rows)}, at.info.Shape[1:]...),
				Data: at.data, Bytes: rows * at.info.Width() * at.info.Type.Size(),
			})
		}
		return tensors
	}
	captured := &graph{}
	g.sizes[rows] = captured
	if captured.options, err = ort.NewRunOptions(); err != nil {
		return err
	}
	if err := api.SetGraph(captured.options, rows); err != nil {
		return err
	}
	name, id := g.device.Memory()
	if captured.binding, err = api.New(s.session, name, id, bind(g.inputs), bind(g.outputs)); err != nil {
		return err
	}
	return g.capture(s, api, captured, rows)
}

// run computes a batch's first rows. It waits for those before it, and cannot be ended once it has begun.
func (g *graphs) run(ctx context.Context, memory *tensor.Memory, rows int) error {
	captured := g.sizes[rows]
	if captured == nil {
		return fmt.Errorf("no graph was captured for %d rows", rows)
	}
	done := make(chan error, 1)
	replay := func() {
		capturing.RLock()
		defer capturing.RUnlock()
		done <- g.replay(captured.binding, captured.options, memory, rows)
	}
	select {
	case g.work <- replay:
		return <-done
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// replay runs on the thread.
func (g *graphs) replay(bound *binding.Binding, options *ort.RunOptions, memory *tensor.Memory, rows int) error {
	for i, at := range g.inputs {
		if err := g.device.Upload(at.data, memory.Input(i, rows)); err != nil {
			return err
		}
	}
	if err := g.device.Wait(); err != nil { // the runtime's stream does not wait for this one
		return err
	}
	if err := bound.Run(options); err != nil {
		return err
	}
	for i, at := range g.outputs {
		if err := g.device.Download(memory.Output(i, rows), at.data); err != nil {
			return err
		}
	}
	return g.device.Wait()
}

// pin makes the memory of a batch the device's to read and write by itself; unpin ends that, before the memory is freed.
func (g *graphs) pin(memory *tensor.Memory) error   { return g.pinning(memory, g.device.Pin) }
func (g *graphs) unpin(memory *tensor.Memory) error { return g.pinning(memory, g.device.Unpin) }

func (g *graphs) pinning(memory *tensor.Memory, f func([]byte) error) error {
	return g.do(func() error {
		capturing.RLock()
		defer capturing.RUnlock()
		return f(memory.Slab())
	})
}

// close frees the graphs and their memory, and ends the thread. Nothing may be asked of it any more.
func (g *graphs) close() error {
	err := g.do(func() error {
		capturing.RLock()
		defer capturing.RUnlock()
		var errs []error
		for _, captured := range g.sizes {
			errs = append(errs, captured.free())
		}
		for _, at := range append(g.inputs, g.outputs...) {
			errs = append(errs, g.device.Free(at.data))
		}
		return errors.Join(errs...)
	})
	close(g.work)
	g.thread.Wait()
	return err
}

func (c *graph) free() error {
	if c.binding != nil {
		c.binding.Close()
	}
	if c.options == nil {
		return nil
	}
	return c.options.Destroy()
}
