package onnx

import (
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// probe runs the model on zeros once, so that a model that can't run fails at load and not at the first request, and fills in
// the sizes of output dimensions that the file leaves open.
func (s *Session) probe() (err error) {
	rows := int64(max(1, s.rows))
	var values []ort.Value
	defer func() {
		for _, value := range values {
			if value != nil {
				err = errors.Join(err, value.Destroy())
			}
		}
	}()
	for _, input := range s.inputs {
		value, err := zeros(input, rows)
		if err != nil {
			return fmt.Errorf("input %s: %w", input, err)
		}
		values = append(values, value)
	}
	values = append(values, make([]ort.Value, len(s.outputs))...)
	if err := s.session.Run(values[:len(s.inputs)], values[len(s.inputs):]); err != nil {
		return fmt.Errorf("trial run on %d rows: %w", rows, err)
	}
	for i := range s.outputs {
		output := &s.outputs[i]
		shape := values[len(s.inputs)+i].GetShape()
		if len(shape) == 0 || shape[0] != rows {
			return fmt.Errorf("output %s has shape %v for %d rows: rows must come first", output, shape, rows)
		}
		for dimension := 1; dimension < len(shape); dimension++ {
			output.Shape[dimension] = shape[dimension]
		}
		if output.Width() < 1 {
			return fmt.Errorf("output %s: a row must have between 1 and %d elements", output, MaxWidth)
		}
	}
	return nil
}

// zeros makes a tensor in memory that ONNX Runtime owns or that the tensor keeps alive until the trial run ends.
func zeros(info TensorInfo, rows int64) (ort.Value, error) {
	shape := append(ort.Shape{rows}, info.Shape[1:]...)
	switch info.Type {
	case String:
		return ort.NewStringTensor(shape)
	default:
		slab, err := newSlab(info.Type.size() * int(shape.FlattenedSize()))
		if err != nil {
			return nil, err
		}
		tensor, err := ort.NewCustomDataTensor(shape, slab, info.Type.ort())
		if err != nil {
			return nil, errors.Join(err, freeSlab(slab))
		}
		return &slabTensor{CustomDataTensor: tensor, slab: slab}, nil
	}
}

// slabTensor frees its memory with itself.
type slabTensor struct {
	*ort.CustomDataTensor
	slab []byte
}

// Destroy implements [ort.Value].
func (t *slabTensor) Destroy() error {
	return errors.Join(t.CustomDataTensor.Destroy(), freeSlab(t.slab))
}
