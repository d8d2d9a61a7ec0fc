package onnx

import (
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/tensor"
)

// bound is a batch's memory seen as tensors of one number of rows. They are given to the run and not to an I/O binding: both
// read and write the memory in place, and a run that is given its tensors can be told to end.
type bound struct {
	inputs, outputs []ort.Value
}

// bind returns the batch's view of that many rows, made on first use: a tensor's shape can't be changed, but many tensors may
// share the same memory. The caller holds the session's lock.
func (b *Batch) bind(rows int) (*bound, error) {
	v := b.views[rows]
	if v == nil {
		var err error
		if v, err = b.newView(rows); err != nil {
			return nil, err
		}
		b.views[rows] = v
	}
	for i, info := range b.session.inputs {
		if info.Type != tensor.String {
			continue
		}
		if err := v.inputs[i].(*ort.StringTensor).SetContents(b.memory.Strings(i)[:rows*info.Width()]); err != nil {
			return nil, fmt.Errorf("input %s: %w", info, err)
		}
	}
	return v, nil
}

func (b *Batch) newView(rows int) (_ *bound, err error) {
	v := &bound{}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.destroy())
		}
	}()
	if v.inputs, err = inputValues(b.session.inputs, b.memory, rows); err != nil {
		return nil, err
	}
	for i, info := range b.session.outputs {
		shape := append(ort.Shape{int64(rows)}, info.Shape[1:]...)
		value, err := ort.NewCustomDataTensor(shape, b.memory.Output(i, rows), ortType(info.Type))
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", info, err)
		}
		v.outputs = append(v.outputs, value)
	}
	return v, nil
}

// inputValues are the inputs' first rows as tensors. What was made is returned with an error too.
func inputValues(inputs []tensor.Info, memory *tensor.Memory, rows int) (values []ort.Value, err error) {
	for i, info := range inputs {
		shape := append(ort.Shape{int64(rows)}, info.Shape[1:]...)
		var value ort.Value
		if info.Type == tensor.String {
			value, err = ort.NewStringTensor(shape)
		} else {
			value, err = ort.NewCustomDataTensor(shape, memory.Input(i, rows), ortType(info.Type))
		}
		if err != nil {
			return values, fmt.Errorf("input %s: %w", info, err)
		}
		values = append(values, value)
	}
	return values, nil
}

func (v *bound) destroy() error {
	return errors.Join(destroy(v.inputs), destroy(v.outputs))
}

// destroy frees tensors; nil ones are passed over.
func destroy(values []ort.Value) error {
	var errs []error
	for _, value := range values {
		if value != nil {
			errs = append(errs, value.Destroy())
		}
	}
	return errors.Join(errs...)
}

// dropViews destroys all views; the caller holds the session's lock for writing.
func (b *Batch) dropViews() error {
	var errs []error
	for rows, v := range b.views {
		if v != nil {
			errs = append(errs, v.destroy())
			b.views[rows] = nil
		}
	}
	return errors.Join(errs...)
}
