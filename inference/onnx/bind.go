package onnx

import (
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

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
	for i, tensor := range v.strings {
		if tensor == nil {
			continue
		}
		if err := tensor.SetContents(b.strings[i][:rows*b.inputs[i].width]); err != nil {
			return nil, fmt.Errorf("input %s: %w", b.inputs[i].info, err)
		}
	}
	return v, nil
}

func (b *Batch) newView(rows int) (v *bound, err error) {
	v = &bound{}
	if v.binding, err = b.session.session.CreateIoBinding(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.destroy())
		}
	}()
	for _, r := range b.inputs {
		value, err := b.tensor(r, rows)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", r.info, err)
		}
		v.tensors = append(v.tensors, value)
		text, _ := value.(*ort.StringTensor)
		v.strings = append(v.strings, text)
		// A string tensor may be filled again after it was bound: the binding refers to the same value.
		if err := v.binding.BindInput(r.info.Name, value); err != nil {
			return nil, fmt.Errorf("input %s: %w", r.info, err)
		}
	}
	for _, r := range b.outputs {
		value, err := b.tensor(r, rows)
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", r.info, err)
		}
		v.tensors = append(v.tensors, value)
		if err := v.binding.BindOutput(r.info.Name, value); err != nil {
			return nil, fmt.Errorf("output %s: %w", r.info, err)
		}
	}
	return v, nil
}

func (b *Batch) tensor(r region, rows int) (ort.Value, error) {
	shape := append(ort.Shape{int64(rows)}, r.info.Shape[1:]...)
	if r.info.Type == String {
		return ort.NewStringTensor(shape)
	}
	return ort.NewCustomDataTensor(shape, r.bytes(b.slab, rows), r.info.Type.ort())
}

func (v *bound) destroy() error {
	errs := []error{v.binding.Destroy()}
	for _, tensor := range v.tensors {
		errs = append(errs, tensor.Destroy())
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
