// Package binding is ONNX Runtime's I/O binding for tensors that lie on a device, which onnxruntime_go has not: it binds tensors of
// the processor's memory only, and its runs through a binding take no options. A captured CUDA graph needs both: it reads and
// writes the addresses on the device that it was captured with, and a run says by an option which graph it means.
//
// It calls the C interface of the library that onnxruntime_go has loaded, on the handles of its sessions and options.
package binding

import (
	"fmt"
	"reflect"
	"strconv"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"
)

// graphKey is the option of a run that names the graph to capture or to replay.
// Source: kOrtRunOptionsConfigCudaGraphAnnotation in onnxruntime_run_options_config_keys.h.
const graphKey = "gpu_graph_id"

// NoGraph as the graph of a run captures none and replays none.
const NoGraph = -1

// SetGraph says which graph runs with these options replay, or capture where they are its first: a number from 0 on, or [NoGraph].
// It means nothing to a session that captures no graphs.
func (a *API) SetGraph(options *ort.RunOptions, graph int) error {
	pointer, err := handle(options, "o")
	if err != nil {
		return err
	}
	return a.configure(pointer, graphKey, strconv.Itoa(graph))
}

// Tensor is a tensor whose elements lie at an address of a device.
type Tensor struct {
	Name  string // of the model's input or output
	Type  ort.TensorElementDataType
	Shape []int64
	// Data is where the elements are, row-major, and Bytes how many. Who allocated them frees them, after the binding is closed.
	Data  unsafe.Pointer
	Bytes int
}

// Binding is what a run reads and writes. It belongs to one goroutine at a time.
type Binding struct {
	api              *API
	session, binding unsafe.Pointer
	values           []unsafe.Pointer
}

// New binds all inputs and outputs of a session. device is ONNX Runtime's name of where they are ("Cuda" or "Cpu"), and id its
// number. The binding must be closed before the session is destroyed.
func (a *API) New(session *ort.DynamicAdvancedSession, device string, id int, inputs, outputs []Tensor) (_ *Binding, err error) {
	b := &Binding{api: a}
	if b.session, err = handle(session, "s", "ortSession"); err != nil {
		return nil, err
	}
	memory, err := a.deviceMemory(device, id)
	if err != nil {
		return nil, fmt.Errorf("memory of %s %d: %w", device, id, err)
	}
	defer a.releaseMemory(memory)
	if b.binding, err = a.newBinding(b.session); err != nil {
		return nil, err
	}
	err = b.add(a.bindInput, memory, inputs)
	if err == nil {
		err = b.add(a.bindOutput, memory, outputs)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// add binds tensors. The binding takes references of its own; Close gives ours back.
func (b *Binding) add(bind func(binding unsafe.Pointer, name string, value unsafe.Pointer) error, memory unsafe.Pointer, tensors []Tensor) error {
	for _, t := range tensors {
		value, err := b.api.newTensor(memory, t)
		if err == nil {
			b.values = append(b.values, value)
			err = bind(b.binding, t.Name, value)
		}
		if err != nil {
			return fmt.Errorf("bind %s: %w", t.Name, err)
		}
	}
	return nil
}

// Run computes the outputs from the inputs, and returns when both can be used again. Terminating the options ends it before the
// next operator, but not in the middle of a graph.
func (b *Binding) Run(options *ort.RunOptions) error {
	pointer, err := handle(options, "o")
	if err != nil {
		return err
	}
	return b.api.run(b.session, pointer, b.binding)
}

// Close frees the binding, and not what its tensors hold. It is idempotent.
func (b *Binding) Close() {
	b.api.releaseBinding(b.binding)
	for _, value := range b.values {
		b.api.releaseValue(value)
	}
	b.binding, b.values = nil, nil
}

// handle is the pointer at the end of a path of fields of what onnxruntime_go made, which keeps its handles to itself.
func handle(of any, fields ...string) (unsafe.Pointer, error) {
	v := reflect.ValueOf(of)
	for _, field := range fields {
		if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
			v = v.Elem().FieldByName(field)
		}
	}
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("%T has no handle in %v: it was destroyed, or this release of onnxruntime_go keeps it elsewhere", of, fields)
	}
	return v.UnsafePointer(), nil
}
