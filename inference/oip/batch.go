package oip

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/onehop/onehop/inference/tensor"
	"github.com/onehop/onehop/schemas/inference"
)

// Batch is the memory of one run. It belongs to one goroutine at a time; keep a pool of them.
type Batch struct {
	model   *Model
	memory  *tensor.Memory
	request *inference.ModelInferRequest
	texts   [][]byte // of each input of BYTES, as they were last sent
	rows    int      // of the run under way
	accept  func(*inference.ModelInferResponse) error
}

// NewBatch makes room for runs of up to maxRows rows. A model with [Model.FixedRows] takes that number only.
func (m *Model) NewBatch(maxRows int) (*Batch, error) {
	if err := m.checkRows(maxRows); err != nil {
		return nil, fmt.Errorf("batch for %s: %w", &m.options, err)
	}
	memory, err := tensor.NewMemory(m.metadata.inputs, m.metadata.outputs, maxRows)
	if err != nil {
		return nil, err
	}
	b := &Batch{model: m, memory: memory, texts: make([][]byte, len(m.metadata.inputs))}
	b.accept = b.read
	b.request = &inference.ModelInferRequest{
		ModelName: m.options.Model, ModelVersion: m.options.Version,
		Outputs:          []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: m.output}},
		RawInputContents: make([][]byte, len(m.metadata.inputs)),
	}
	for _, info := range m.metadata.inputs {
		b.request.Inputs = append(b.request.Inputs, &inference.ModelInferRequest_InferInputTensor{
			Name: info.Name, Datatype: datatypes[info.Type], Shape: slices.Clone(info.Shape),
		})
	}
	return b, nil
}

func (m *Model) checkRows(rows int) error {
	switch {
	case m.rows > 0 && rows != m.rows:
		return fmt.Errorf("%d rows asked for, but the model takes exactly %d", rows, m.rows)
	case rows < 1:
		return fmt.Errorf("%d rows asked for, but a run needs at least one", rows)
	default:
		return nil
	}
}

// Memory is where the inputs are written and the scores read.
func (b *Batch) Memory() *tensor.Memory { return b.memory }

// Run has a replica compute the output of the batch's first rows. It allocates nothing for a row, and ends soon after the context. A
// failure is an [*Error]. Values are taken as they are, NaN included. Runs on different batches may be concurrent.
func (b *Batch) Run(ctx context.Context, rows int) error {
	m := b.model
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run %s: %w", &m.options, err)
	}
	if err := m.checkRows(rows); err != nil {
		return fmt.Errorf("run %s: %w", &m.options, err)
	}
	if rows > b.memory.MaxRows() {
		return fmt.Errorf("run %s: %d rows asked for, but the batch has room for %d", &m.options, rows, b.memory.MaxRows())
	}
	if m.closed.Load() || b.memory.Freed() {
		return fmt.Errorf("run %s: %w", &m.options, ErrClosed)
	}
	b.fill(rows)
	if err := m.infer(ctx, b.request, b.accept); err != nil {
		return fmt.Errorf("%d rows: %w", rows, err)
	}
	b.memory.Done(rows)
	return nil
}

// fill points the request at the memory of the first rows; only texts are copied, to the form that they are sent in.
func (b *Batch) fill(rows int) {
	b.rows = rows
	for i, info := range b.model.metadata.inputs {
		b.request.Inputs[i].Shape[0] = int64(rows)
		if info.Type == tensor.String {
			b.texts[i] = appendTexts(b.texts[i][:0], b.memory.Strings(i)[:rows*info.Width()])
			b.request.RawInputContents[i] = b.texts[i]
			continue
		}
		b.request.RawInputContents[i] = b.memory.Input(i, rows)
	}
}

// appendTexts appends each text behind its length.
func appendTexts(dst []byte, texts []string) []byte {
	for _, text := range texts {
		dst = append(binary.LittleEndian.AppendUint32(dst, uint32(len(text))), text...)
	}
	return dst
}

// Close frees the batch's memory; slices taken from it must not be touched any more. It is idempotent, but must not come during a run.
func (b *Batch) Close() error { return b.memory.Free() }
