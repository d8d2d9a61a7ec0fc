package tensor

import (
	"github.com/x448/float16"
)

// Memory is room for the inputs and outputs of up to MaxRows rows. It belongs to one goroutine at a time and lies outside the Go
// heap, but for strings, until Free.
type Memory struct {
	maxRows int
	slab    []byte
	inputs  []region
	outputs []region
	strings [][]string  // per input, nil where it has numbers
	scores  [][]float32 // per output, converted; nil where the slab holds float32 itself
	rows    int         // of the last run
}

// region is where a tensor's elements lie in the slab.
type region struct {
	info   Info
	offset int
	width  int
}

func (r region) bytes(slab []byte, from, rows int) []byte {
	size := r.width * r.info.Type.Size()
	start, end := r.offset+from*size, r.offset+(from+rows)*size
	return slab[start:end:end]
}

// NewMemory makes room. The widths of all tensors must be known, and outputs must be numbers.
func NewMemory(inputs, outputs []Info, maxRows int) (*Memory, error) {
	m := &Memory{maxRows: maxRows, strings: make([][]string, len(inputs)), scores: make([][]float32, len(outputs))}
	size := 0
	place := func(info Info) region {
		r := region{info: info, offset: size, width: info.Width()}
		size += (maxRows*r.width*info.Type.Size() + alignment - 1) / alignment * alignment
		return r
	}
	for i, info := range inputs {
		m.inputs = append(m.inputs, place(info))
		if info.Type == String {
			m.strings[i] = make([]string, maxRows*info.Width())
		}
	}
	for i, info := range outputs {
		m.outputs = append(m.outputs, place(info))
		if info.Type != Float32 {
			m.scores[i] = make([]float32, maxRows*info.Width())
		}
	}
	var err error
	m.slab, err = newSlab(size)
	return m, err
}

// MaxRows is the most rows that one run takes.
func (m *Memory) MaxRows() int { return m.maxRows }

// Freed says whether the memory was given back.
func (m *Memory) Freed() bool { return m.slab == nil }

// Inputs is how many inputs there are.
func (m *Memory) Inputs() int { return len(m.inputs) }

// Slab is the memory of all elements, inputs and outputs, but for strings.
func (m *Memory) Slab() []byte { return m.slab }

// RowBytes is the memory of one row of an input; empty for strings.
func (m *Memory) RowBytes(input, row int) []byte { return m.inputs[input].bytes(m.slab, row, 1) }

// RowStrings are the strings of one row of an input; nil where it has numbers.
func (m *Memory) RowStrings(input, row int) []string {
	if m.strings[input] == nil {
		return nil
	}
	width := m.inputs[input].width
	return m.strings[input][row*width : (row+1)*width]
}

// Input is the memory of an input's first rows, row-major and in the machine's byte order; nil for strings.
func (m *Memory) Input(input, rows int) []byte { return m.inputs[input].bytes(m.slab, 0, rows) }

// Output is [Memory.Input] for an output; whoever runs the model writes it, and then calls [Memory.Done].
func (m *Memory) Output(output, rows int) []byte { return m.outputs[output].bytes(m.slab, 0, rows) }

// Float16 is the memory of a float16 input, in bits: MaxRows × width elements, row-major, of which a run reads the first rows. It
// stays valid, and keeps what is written, until Free. It is nil for an input of another type and after Free.
func (m *Memory) Float16(input int) []uint16 { return elements[uint16](m, input, Float16) }

// Float32 is [Memory.Float16] for a float32 input.
func (m *Memory) Float32(input int) []float32 { return elements[float32](m, input, Float32) }

// Float64 is [Memory.Float16] for a float64 input.
func (m *Memory) Float64(input int) []float64 { return elements[float64](m, input, Float64) }

// Int32 is [Memory.Float16] for an int32 input.
func (m *Memory) Int32(input int) []int32 { return elements[int32](m, input, Int32) }

// Int64 is [Memory.Float16] for an int64 input.
func (m *Memory) Int64(input int) []int64 { return elements[int64](m, input, Int64) }

// Strings is [Memory.Float16] for a string input, but Go memory. They must not contain NUL bytes.
func (m *Memory) Strings(input int) []string { return m.strings[input] }

func elements[T number](m *Memory, input int, want Type) []T {
	r := m.inputs[input]
	if m.slab == nil || r.info.Type != want {
		return nil
	}
	return view[T](r.bytes(m.slab, 0, m.maxRows))
}

// Copy writes rows of a memory of the same inputs, from the row first on, behind the first at rows of this one. It may be the same memory.
func (m *Memory) Copy(at int, from *Memory, first, rows int) {
	for i, r := range m.inputs {
		if r.info.Type == String {
			copy(m.strings[i][at*r.width:], from.strings[i][first*r.width:(first+rows)*r.width])
			continue
		}
		copy(r.bytes(m.slab, at, rows), from.inputs[i].bytes(from.slab, first, rows))
	}
}

// Done says that the outputs of the first rows were written.
func (m *Memory) Done(rows int) {
	m.rows = rows
	for i, scores := range m.scores {
		if scores != nil {
			convert(scores, m.outputs[i], m.Output(i, rows))
		}
	}
}

// convert reads what is no float32 as float32.
func convert(scores []float32, r region, bytes []byte) {
	switch r.info.Type {
	case Float16:
		for i, v := range view[uint16](bytes) {
			scores[i] = float16.Frombits(v).Float32()
		}
	case Float64:
		for i, v := range view[float64](bytes) {
			scores[i] = float32(v)
		}
	case Int32:
		for i, v := range view[int32](bytes) {
			scores[i] = float32(v)
		}
	case Int64:
		for i, v := range view[int64](bytes) {
			scores[i] = float32(v)
		}
	}
}

// Scores is what the last run answered: rows × width elements, row-major; what is no float32 is converted. It is valid until
// the next run or Free.
func (m *Memory) Scores(output int) []float32 {
	if m.slab == nil {
		return nil
	}
	r := m.outputs[output]
	if scores := m.scores[output]; scores != nil {
		return scores[:m.rows*r.width]
	}
	return view[float32](m.Output(output, m.rows))
}

// Free gives the memory back; slices taken from it must not be touched any more. It is idempotent.
func (m *Memory) Free() error {
	if m.slab == nil {
		return nil
	}
	slab := m.slab
	m.slab, m.strings = nil, nil
	return freeSlab(slab)
}
