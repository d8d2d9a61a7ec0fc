package inference

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/repository"
)

// chunkRows is the most rows of one run; longer requests are run in parts, so that
// memory stays bounded.
const chunkRows = 256

// Model is one loaded version of a model. It is safe for concurrent use.
type Model struct {
	repository.Version
	// Name is the model's name.
	Name    string
	session *onnx.Session
	inputs  []onnx.TensorInfo
	free    chan *onnx.Batch
	uses    atomic.Int64 // requests that have it, −1 once it is shut
}

// Load loads a version, checks it against its model.yaml and runs it once on zeros.
func Load(rt *onnx.Runtime, version repository.Version) (*Model, error) {
	if version.Err != nil {
		return nil, version.Err
	}
	session, err := rt.Load(version.ModelPath, onnx.Options{Outputs: []string{version.Spec.Output}})
	if err != nil {
		return nil, err
	}
	if err := version.Spec.Check(session.Inputs(), session.Outputs()); err != nil {
		_ = session.Close()
		return nil, err
	}
	return &Model{
		Version: version, Name: version.Model, session: session, inputs: session.Inputs(),
		free: make(chan *onnx.Batch, 2*runtime.GOMAXPROCS(0)),
	}, nil
}

// Close frees the model's memory; runs under way finish first.
func (m *Model) Close() error {
	for {
		select {
		case b := <-m.free:
			if err := b.Close(); err != nil {
				return fmt.Errorf("model %s version %d: %w", m.Name, m.Number, err)
			}
		default:
			if err := m.session.Close(); err != nil {
				return fmt.Errorf("model %s version %d: %w", m.Name, m.Number, err)
			}
			return nil
		}
	}
}

// batch takes input memory from the pool, or makes some.
func (m *Model) batch() (*onnx.Batch, error) {
	select {
	case b := <-m.free:
		return b, nil
	default:
		rows := chunkRows
		if fixed := m.session.FixedRows(); fixed > 0 {
			rows = fixed
		}
		return m.session.NewBatch(rows)
	}
}

// release gives input memory back.
func (m *Model) release(b *onnx.Batch) {
	select {
	case m.free <- b:
	default:
		_ = b.Close() // more were in use at once than are kept
	}
}

// run runs the model on the first rows of a batch and appends their scores.
func (m *Model) run(ctx context.Context, b *onnx.Batch, rows int, scores []float32) ([]float32, error) {
	n := rows
	if fixed := m.session.FixedRows(); fixed > 0 {
		n = fixed // what the rest of the memory holds is scored and not looked at
	}
	if err := m.session.Run(ctx, b, n); err != nil {
		return scores, fmt.Errorf("model %s version %d: %w", m.Name, m.Number, err)
	}
	return append(scores, b.Output(0)[:rows]...), nil
}

// slab is the memory of one input tensor of a batch: rows × width numbers of one type.
type slab struct {
	floats  []float32
	doubles []float64
	ints    []int64
	width   int
}

func (m *Model) slabs(b *onnx.Batch, dst []slab) []slab {
	for i, info := range m.inputs {
		s := slab{width: info.Width()}
		switch info.Type {
		case onnx.Float32:
			s.floats = b.Float32(i)
		case onnx.Float64:
			s.doubles = b.Float64(i)
		default:
			s.ints = b.Int64(i)
		}
		dst = append(dst, s)
	}
	return dst
}

// set writes one number; the type was checked when the model was loaded.
func (s *slab) set(row, column int, v float64) {
	at := row*s.width + column
	switch {
	case s.floats != nil:
		s.floats[at] = float32(v)
	case s.doubles != nil:
		s.doubles[at] = v
	default:
		s.ints[at] = int64(v)
	}
}

// fill writes one number to a column of the first rows.
func (s *slab) fill(rows, column int, v float64) {
	if s.floats == nil {
		for row := range rows {
			s.set(row, column, v)
		}
		return
	}
	f := float32(v)
	for at := column; at < rows*s.width; at += s.width {
		s.floats[at] = f
	}
}
