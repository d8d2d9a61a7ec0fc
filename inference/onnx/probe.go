package onnx

import (
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/tensor"
)

// probe runs the model on rows of zeros, so that a model that can't run fails at load and not at the first request, and fills in
// the sizes of output dimensions that the file leaves open. One row tells whether rows come first, and two whether the output has as many as
// the input.
func (s *Session) probe(options *ort.RunOptions) error {
	if s.rows > 0 {
		return s.try(s.rows, options)
	}
	return errors.Join(s.try(1, options), s.try(2, options))
}

func (s *Session) try(rows int, options *ort.RunOptions) (err error) {
	memory, err := tensor.NewMemory(s.inputs, nil, rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, memory.Free()) }()
	inputs, err := inputValues(s.inputs, memory, rows)
	defer func() { err = errors.Join(err, destroy(inputs)) }()
	if err != nil {
		return err
	}
	outputs := make([]ort.Value, len(s.outputs))
	defer func() { err = errors.Join(err, destroy(outputs)) }()
	if err := s.session.RunWithOptions(inputs, outputs, options); err != nil {
		return fmt.Errorf("trial run on %d rows: %w", rows, err)
	}
	for i := range s.outputs {
		output := &s.outputs[i]
		shape := outputs[i].GetShape()
		if len(shape) == 0 || shape[0] != int64(rows) {
			return fmt.Errorf("output %s has shape %v for %d rows: rows must come first", output, shape, rows)
		}
		for dimension := 1; dimension < len(shape); dimension++ {
			output.Shape[dimension] = shape[dimension]
		}
		if output.Width() < 1 {
			return fmt.Errorf("output %s: a row must have between 1 and %d elements", output, tensor.MaxWidth)
		}
	}
	return nil
}
