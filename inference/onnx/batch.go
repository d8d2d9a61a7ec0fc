package onnx

import (
	"context"
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"
)

// Batch is the memory of one run: room for the inputs and outputs of up to MaxRows rows. It belongs to one goroutine at a
// time; keep a pool of them. It holds memory outside the Go heap until Close.
type Batch struct {
	session *Session
	maxRows int
	slab    []byte
	inputs  []region
	outputs []region
	strings [][]string  // per input, nil where it has numbers
	scores  [][]float32 // per output, converted; nil where the slab holds float32 itself
	views   []*bound    // by number of rows, made when first needed
	rows    int         // of the last run
}

// region is where a tensor's elements lie in the slab.
type region struct {
	info   TensorInfo
	offset int
	width  int
}

func (r region) bytes(slab []byte, rows int) []byte {
	end := r.offset + rows*r.width*r.info.Type.size()
	return slab[r.offset:end:end]
}

// bound is the slab seen as tensors of one number of rows, tied to the model's inputs and outputs.
type bound struct {
	binding *ort.IoBinding
	strings []*ort.StringTensor // per input, nil where it has numbers
	tensors []ort.Value         // all of them, for destruction
}

// NewBatch makes room for runs of up to maxRows rows: rows × widths elements, plus about 2 KiB for each number of rows that is
// actually used. A model with [Session.FixedRows] takes that number only.
func (s *Session) NewBatch(maxRows int) (*Batch, error) {
	if maxRows < 1 || s.rows > 0 && maxRows != s.rows {
		return nil, fmt.Errorf("batch of %d rows for model %s: %w", maxRows, s.name, s.rowsError(maxRows))
	}
	b := &Batch{session: s, maxRows: maxRows, views: make([]*bound, maxRows+1), strings: make([][]string, len(s.inputs))}
	size := 0
	place := func(info TensorInfo) region {
		r := region{info: info, offset: size, width: info.Width()}
		size += (maxRows*r.width*info.Type.size() + alignment - 1) / alignment * alignment
		return r
	}
	for i, info := range s.inputs {
		b.inputs = append(b.inputs, place(info))
		if info.Type == String {
			b.strings[i] = make([]string, maxRows*info.Width())
		}
	}
	b.scores = make([][]float32, len(s.outputs))
	for i, info := range s.outputs {
		b.outputs = append(b.outputs, place(info))
		if info.Type != Float32 {
			b.scores[i] = make([]float32, maxRows*info.Width())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil, fmt.Errorf("batch for model %s: %w", s.name, ErrClosed)
	}
	slab, err := newSlab(size)
	if err != nil {
		return nil, err
	}
	b.slab = slab
	s.batches[b] = struct{}{}
	return b, nil
}

func (s *Session) rowsError(rows int) error {
	if s.rows > 0 {
		return fmt.Errorf("%d rows asked for, but the model takes exactly %d", rows, s.rows)
	}
	return fmt.Errorf("%d rows asked for, but a run needs at least one", rows)
}

// MaxRows is the most rows that one run takes.
func (b *Batch) MaxRows() int { return b.maxRows }

// Float32 is the memory of the float32 input, row-major: MaxRows × width elements, of which a run reads the first rows. It
// stays valid, and keeps what is written, until Close. It is nil for an input of another type and after Close.
func (b *Batch) Float32(input int) []float32 { return elements[float32](b, input, Float32) }

// Float64 is [Batch.Float32] for a float64 input.
func (b *Batch) Float64(input int) []float64 { return elements[float64](b, input, Float64) }

// Int64 is [Batch.Float32] for an int64 input.
func (b *Batch) Int64(input int) []int64 { return elements[int64](b, input, Int64) }

// Strings is [Batch.Float32] for a string input, but Go memory: every run copies the strings of its rows, with an allocation
// each. They must not contain NUL bytes.
func (b *Batch) Strings(input int) []string {
	if b.slab == nil {
		return nil
	}
	return b.strings[input]
}

func elements[T float32 | float64 | int64](b *Batch, input int, want ElementType) []T {
	r := b.inputs[input]
	if b.slab == nil || r.info.Type != want {
		return nil
	}
	return view[T](r.bytes(b.slab, b.maxRows))
}

// Output is what the last successful run answered: rows × width elements, row-major; float64 and int64 outputs are converted.
// It is valid until the next run or Close.
func (b *Batch) Output(output int) []float32 {
	if b.slab == nil {
		return nil
	}
	r := b.outputs[output]
	if scores := b.scores[output]; scores != nil {
		return scores[:b.rows*r.width]
	}
	return view[float32](r.bytes(b.slab, b.rows))
}

// Run computes the outputs of the batch's first rows. It allocates nothing, but for the first run of each number of rows and
// for string inputs. A context that has ended stops it from starting; a run under way is not interrupted. Values are taken as
// they are, NaN included. Runs on different batches may be concurrent.
func (s *Session) Run(ctx context.Context, b *Batch, rows int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run model %s: %w", s.name, err)
	}
	if b.session != s {
		return fmt.Errorf("run model %s: the batch belongs to model %s", s.name, b.session.name)
	}
	if rows < 1 || s.rows > 0 && rows != s.rows {
		return fmt.Errorf("run model %s: %w", s.name, s.rowsError(rows))
	}
	if rows > b.maxRows {
		return fmt.Errorf("run model %s: %d rows asked for, but the batch has room for %d", s.name, rows, b.maxRows)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.session == nil || b.slab == nil {
		return fmt.Errorf("run model %s: %w", s.name, ErrClosed)
	}
	v, err := b.bind(rows)
	if err != nil {
		return fmt.Errorf("run model %s: prepare %d rows: %w", s.name, rows, err)
	}
	if err := s.session.RunWithBinding(v.binding); err != nil {
		return fmt.Errorf("run model %s on %d rows: %w", s.name, rows, err)
	}
	b.rows = rows
	b.convert()
	return nil
}

// convert fills scores of outputs that aren't float32.
func (b *Batch) convert() {
	for i, scores := range b.scores {
		if scores == nil {
			continue
		}
		r := b.outputs[i]
		bytes := r.bytes(b.slab, b.rows)
		if r.info.Type == Int64 {
			for j, value := range view[int64](bytes) {
				scores[j] = float32(value)
			}
			continue
		}
		for j, value := range view[float64](bytes) {
			scores[j] = float32(value)
		}
	}
}

// Close frees the batch's memory; slices taken from it must not be touched any more. It is idempotent, and may come before or
// after the session's Close, but not during a run on this batch.
func (b *Batch) Close() error {
	b.session.mu.Lock()
	defer b.session.mu.Unlock()
	if b.slab == nil {
		return nil
	}
	delete(b.session.batches, b)
	err := errors.Join(b.dropViews(), freeSlab(b.slab))
	b.slab, b.strings = nil, nil
	return err
}
