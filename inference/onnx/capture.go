package onnx

import (
	"errors"
	"fmt"
	"math"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/onnx/binding"
	"github.com/onehop/onehop/inference/tensor"
)

// replayTolerance is how far a score of a replayed graph may be from that of the same rows without one, for each unit of it: the order of
// additions on a GPU varies.
const replayTolerance = 1e-3

// capture has ONNX Runtime capture a graph, and tells whether a replay answers what was asked: what does not repeat on the device gives the
// answer of the rows that it was captured with.
func (g *graphs) capture(s *Session, api *binding.API, captured *graph, rows int) (err error) {
	zeros, err := tensor.NewMemory(s.inputs, s.outputs, rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, zeros.Free()) }()
	asked, err := tensor.NewMemory(s.inputs, s.outputs, rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, asked.Free()) }()
	fill(asked)

	plain, err := plainRun(api)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Destroy()) }()
	want, err := g.scores(captured.binding, plain, asked, rows) // TensorRT builds its engine here, for minutes
	if err != nil {
		return fmt.Errorf("without a graph: %w", err)
	}
	capturing.Lock()
	_, err = g.scores(captured.binding, captured.options, zeros, rows)
	capturing.Unlock()
	if err != nil {
		return fmt.Errorf("while it was captured: %w", err)
	}
	got, err := g.scores(captured.binding, captured.options, asked, rows)
	if err != nil {
		return fmt.Errorf("replayed: %w", err)
	}
	for i, score := range got {
		if far(score, want[i]) {
			return fmt.Errorf("%w: replayed, it says %g where the model says %g: it cannot be captured; take cuda_graph from its model.yaml",
				ErrBadModel, score, want[i])
		}
	}
	return nil
}

// plainRun are the options of runs that capture no graph and replay none.
func plainRun(api *binding.API) (*ort.RunOptions, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, err
	}
	if err := api.SetGraph(options, binding.NoGraph); err != nil {
		return nil, errors.Join(err, options.Destroy())
	}
	return options, nil
}

// scores are all outputs' of a run, one after the other.
func (g *graphs) scores(bound *binding.Binding, options *ort.RunOptions, memory *tensor.Memory, rows int) (scores []float32, err error) {
	if err := g.replay(bound, options, memory, rows); err != nil {
		return nil, err
	}
	memory.Done(rows)
	for i := range g.outputs {
		scores = append(scores, memory.Scores(i)...)
	}
	return scores, nil
}

func far(got, want float32) bool {
	if got == want || got != got && want != want {
		return false
	}
	return !(math.Abs(float64(got-want)) <= replayTolerance*max(1, math.Abs(float64(want))))
}

// fill writes rows that are not all zero: fractions that differ from column to column, and ones where ids may be asked for.
func fill(memory *tensor.Memory) {
	for i := range memory.Inputs() {
		fraction := func(j int) float32 { return float32(j%7+1) / 8 }
		for j := range memory.Float32(i) {
			memory.Float32(i)[j] = fraction(j)
		}
		for j := range memory.Float64(i) {
			memory.Float64(i)[j] = float64(fraction(j))
		}
		for j := range memory.Float16(i) {
			memory.Float16(i)[j] = 0x3800 // 0.5
		}
		for j := range memory.Int32(i) {
			memory.Int32(i)[j] = 1
		}
		for j := range memory.Int64(i) {
			memory.Int64(i)[j] = 1
		}
	}
}
