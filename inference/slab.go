package inference

import (
	"math"

	"github.com/x448/float16"

	"github.com/onehop/onehop/featurestore"
	"github.com/onehop/onehop/inference/batching"
	"github.com/onehop/onehop/inference/tensor"
)

// slab is the memory of one input tensor of a batch: rows × width elements of one type.
type slab struct {
	floats  []float32
	doubles []float64
	ints    []int64
	shorts  []int32
	halves  []uint16
	texts   []string
	width   int
}

func (m *Model) slabs(b batching.Batch, dst []slab) []slab {
	memory := b.Memory()
	for i, info := range m.inputs {
		dst = append(dst, slab{
			width: info.Width(), floats: memory.Float32(i), doubles: memory.Float64(i), ints: memory.Int64(i),
			shorts: memory.Int32(i), halves: memory.Float16(i), texts: memory.Strings(i),
		})
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
	case s.ints != nil:
		s.ints[at] = int64(v)
	case s.shorts != nil:
		s.shorts[at] = int32(v)
	default:
		s.halves[at] = float16.Fromfloat32(float32(v)).Bits()
	}
}

// holds says whether the tensor's type has room for a number.
func (s *slab) holds(v float64) bool {
	switch {
	case s.floats != nil:
		return math.Abs(v) <= math.MaxFloat32
	case s.doubles != nil:
		return true
	case s.ints != nil:
		return v >= math.MinInt64 && v < math.MaxInt64
	case s.shorts != nil:
		return v >= math.MinInt32 && v <= math.MaxInt32
	default:
		return math.Abs(v) <= 65504 // the greatest of float16, IEEE 754
	}
}

// ranges are slabs without memory, which tell what the types of tensors hold.
func ranges(inputs []tensor.Info) []slab {
	slabs := make([]slab, len(inputs))
	for i, info := range inputs {
		switch info.Type {
		case tensor.Float32:
			slabs[i].floats = []float32{}
		case tensor.Float64:
			slabs[i].doubles = []float64{}
		case tensor.Int64:
			slabs[i].ints = []int64{}
		case tensor.Int32:
			slabs[i].shorts = []int32{}
		}
	}
	return slabs
}

// put writes what was read to its place in a row.
func (s *slab) put(row int, at *placement, v *featurestore.Value) {
	if at.isNumber() {
		s.set(row, int(at.column), number(v, at.def))
		return
	}
	for i := range max(1, int(at.length)) {
		element := v
		if at.length > 0 {
			if element = &null; i < len(v.List) {
				element = &v.List[i]
			}
		}
		switch {
		case !at.isText:
			s.set(row, int(at.column)+i, number(element, at.def))
		case element.IsNull():
			s.texts[row*s.width+int(at.column)+i] = at.text
		default:
			s.texts[row*s.width+int(at.column)+i] = string(element.Bytes)
		}
	}
}

var null featurestore.Value

// fill writes the same to the first rows.
func (s *slab) fill(rows int, at *placement, v *featurestore.Value) {
	if at.length > 0 || s.floats == nil {
		for row := range rows {
			s.put(row, at, v)
		}
		return
	}
	f := float32(number(v, at.def))
	for i := int(at.column); i < rows*s.width; i += s.width {
		s.floats[i] = f
	}
}

// number is a value as a model reads it.
func number(v *featurestore.Value, def float64) float64 {
	if v.IsNull() {
		return def
	}
	if v.Type == featurestore.Float64 {
		return v.Float()
	}
	return float64(v.Int())
}
