package oip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/onehop/onehop/inference/tensor"
	"github.com/onehop/onehop/schemas/inference"
)

// read checks an answer and writes its scores to the memory. What is wrong wraps errAnswer.
func (b *Batch) read(res *inference.ModelInferResponse) error {
	at := b.model.outputTensor(res)
	if at < 0 {
		return fmt.Errorf("%w: it has no output %q, but %d others", errAnswer, b.model.output, len(res.GetOutputs()))
	}
	out, info := res.GetOutputs()[at], &b.model.metadata.outputs[0]
	if out.GetDatatype() != datatypes[info.Type] {
		return fmt.Errorf("%w: output %q is of datatype %q; the model's metadata says %s", errAnswer, info.Name, out.GetDatatype(), datatypes[info.Type])
	}
	if err := checkShape(out.GetShape(), b.rows, info.Width()); err != nil {
		return fmt.Errorf("%w: output %q has shape %v: %w", errAnswer, info.Name, out.GetShape(), err)
	}
	into := b.memory.Output(0, b.rows)
	var err error
	if raw := res.GetRawOutputContents(); len(raw) > 0 {
		err = readRaw(into, raw, at, len(res.GetOutputs()))
	} else {
		err = readTyped(into, info.Type, out.GetContents())
	}
	if err != nil {
		return fmt.Errorf("%w: output %q: %w", errAnswer, info.Name, err)
	}
	return nil
}

// checkShape wants rows first, and then width elements in whatever dimensions: some servers answer [rows] for [rows, 1].
func checkShape(shape []int64, rows, width int) error {
	if len(shape) == 0 || shape[0] != int64(rows) {
		return fmt.Errorf("%d rows were sent, and rows must come first", rows)
	}
	if got := (tensor.Info{Shape: shape}).Width(); got != width {
		return fmt.Errorf("a row must have %d elements", width)
	}
	return nil
}

// readRaw copies the elements of the output at an index; there must be raw contents for each output.
func readRaw(into []byte, raw [][]byte, at, outputs int) error {
	if len(raw) != outputs {
		return fmt.Errorf("there are raw contents for %d outputs, of %d", len(raw), outputs)
	}
	if len(raw[at]) != len(into) {
		return fmt.Errorf("it has %d bytes; its shape and datatype take %d", len(raw[at]), len(into))
	}
	copy(into, raw[at])
	return nil
}

// readTyped writes elements that came as numbers.
func readTyped(into []byte, t tensor.Type, contents *inference.InferTensorContents) error {
	switch t {
	case tensor.Float32:
		return put(into, contents.GetFp32Contents(), 4, func(at []byte, v float32) { binary.LittleEndian.PutUint32(at, math.Float32bits(v)) })
	case tensor.Float64:
		return put(into, contents.GetFp64Contents(), 8, func(at []byte, v float64) { binary.LittleEndian.PutUint64(at, math.Float64bits(v)) })
	case tensor.Int32:
		return put(into, contents.GetIntContents(), 4, func(at []byte, v int32) { binary.LittleEndian.PutUint32(at, uint32(v)) })
	case tensor.Int64:
		return put(into, contents.GetInt64Contents(), 8, func(at []byte, v int64) { binary.LittleEndian.PutUint64(at, uint64(v)) })
	default: // FP16 has no other form
		return errors.New("it has no raw contents")
	}
}

func put[T any](into []byte, values []T, size int, write func([]byte, T)) error {
	if len(values)*size != len(into) {
		return fmt.Errorf("it has %d elements; its shape takes %d", len(values), len(into)/size)
	}
	for i, v := range values {
		write(into[i*size:], v)
	}
	return nil
}
