package onnx

import (
	"context"
	"errors"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/tensor"
)

// Batch is the memory of one run. It belongs to one goroutine at a time; keep a pool of them.
type Batch struct {
	session *Session
	memory  *tensor.Memory
	options *ort.RunOptions
	views   []*bound // by number of rows, made when first needed
	pinned  bool     // for the session's graphs
}

// NewBatch makes room for runs of up to maxRows rows: rows × widths elements, plus about 1 KiB for each number of rows that is
// actually used. A model with [Session.FixedRows] takes that number only.
func (s *Session) NewBatch(maxRows int) (_ *Batch, err error) {
	if maxRows < 1 || s.rows > 0 && maxRows != s.rows {
		return nil, fmt.Errorf("batch of %d rows for model %s: %w", maxRows, s.name, s.rowsError(maxRows))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil, fmt.Errorf("batch for model %s: %w", s.name, ErrClosed)
	}
	b := &Batch{session: s, views: make([]*bound, maxRows+1)}
	if b.options, err = ort.NewRunOptions(); err != nil {
		return nil, err
	}
	if b.memory, err = tensor.NewMemory(s.inputs, s.outputs, maxRows); err != nil {
		return nil, errors.Join(err, b.options.Destroy())
	}
	if s.graphs != nil {
		if err := s.graphs.pin(b.memory); err != nil {
			return nil, errors.Join(err, b.options.Destroy(), b.memory.Free())
		}
		b.pinned = true
	}
	s.batches[b] = struct{}{}
	return b, nil
}

func (s *Session) rowsError(rows int) error {
	if s.rows > 0 {
		return fmt.Errorf("%d rows asked for, but the model takes exactly %d", rows, s.rows)
	}
	return fmt.Errorf("%d rows asked for, but a run needs at least one", rows)
}

// Memory is where the inputs are written and the outputs read.
func (b *Batch) Memory() *tensor.Memory { return b.memory }

// Run computes the outputs of the batch's first rows. It allocates nothing for a row, but for strings, each of which is copied.
// A context that has ended stops it from starting, and ends a run under way before its next operator, but for one of graphs. Values are taken as
// they are, NaN included. Runs on different batches may be concurrent.
func (b *Batch) Run(ctx context.Context, rows int) error {
	s := b.session
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run model %s: %w", s.name, err)
	}
	if rows < 1 || s.rows > 0 && rows != s.rows {
		return fmt.Errorf("run model %s: %w", s.name, s.rowsError(rows))
	}
	if rows > b.memory.MaxRows() {
		return fmt.Errorf("run model %s: %d rows asked for, but the batch has room for %d", s.name, rows, b.memory.MaxRows())
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.session == nil || b.memory.Freed() {
		return fmt.Errorf("run model %s: %w", s.name, ErrClosed)
	}
	if err := b.compute(ctx, rows); err != nil {
		return fmt.Errorf("run model %s on %d rows: %w", s.name, rows, err)
	}
	b.memory.Done(rows)
	return nil
}

// compute runs the model by its graphs, where it has any.
func (b *Batch) compute(ctx context.Context, rows int) error {
	if b.session.graphs != nil {
		return b.session.graphs.run(ctx, b.memory, rows)
	}
	v, err := b.bind(rows)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer b.session.useGPU()()
	return b.run(ctx, v)
}

// run runs the model and ends it when the context ends.
func (b *Batch) run(ctx context.Context, v *bound) error {
	if ctx.Done() == nil {
		return b.session.session.RunWithOptions(v.inputs, v.outputs, b.options)
	}
	terminated := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { terminated <- b.options.Terminate() })
	err := b.session.session.RunWithOptions(v.inputs, v.outputs, b.options)
	if stop() {
		return err
	}
	// The flag stays set until it is taken back, and so would end the next run.
	cleared := errors.Join(<-terminated, b.options.UnsetTerminate())
	if err != nil {
		return errors.Join(context.Cause(ctx), cleared)
	}
	return cleared
}

// Close frees the batch's memory; slices taken from it must not be touched any more. It is idempotent, and may come before or
// after the session's Close, but not during a run on this batch.
func (b *Batch) Close() error {
	b.session.mu.Lock()
	defer b.session.mu.Unlock()
	if b.memory.Freed() {
		return nil
	}
	delete(b.session.batches, b)
	return errors.Join(b.detach(), b.options.Destroy(), b.memory.Free())
}

// detach frees what the batch has of the session's; the caller holds the session's lock for writing.
func (b *Batch) detach() (err error) {
	if b.pinned {
		b.pinned = false
		err = b.session.graphs.unpin(b.memory)
	}
	return errors.Join(err, b.dropViews())
}
