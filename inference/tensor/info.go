package tensor

import (
	"fmt"
	"strconv"
	"strings"
)

// Type is the type of a tensor's elements.
type Type int

// The types that memory is made for. Other stands for all the rest, and for outputs that are no tensors.
const (
	Other Type = iota
	Float16
	Float32
	Float64
	Int32
	Int64
	String
)

// String names the type as ONNX's text form does.
func (t Type) String() string {
	return [...]string{"other", "float16", "float", "double", "int32", "int64", "string"}[t]
}

// Size is the bytes of one element in memory; 0 for strings, which live elsewhere, and for Other.
func (t Type) Size() int {
	switch t {
	case Float16:
		return 2
	case Float32, Int32:
		return 4
	case Float64, Int64:
		return 8
	default:
		return 0
	}
}

// Info describes an input or output of a model.
type Info struct {
	Name string
	Type Type
	// Shape holds the sizes of the dimensions; -1 is one the model leaves open. The first dimension counts rows.
	Shape []int64
}

// MaxWidth is the most elements that one row of a tensor may have.
const MaxWidth = 1 << 24

// Width is the number of elements in a row: the product of all dimensions but the first, 1 for a vector. It is -1 if one of
// them is open or the product is over [MaxWidth].
func (t Info) Width() int {
	width := int64(1)
	for _, size := range t.Shape[min(1, len(t.Shape)):] {
		if size < 0 || size > MaxWidth || width*size > MaxWidth {
			return -1
		}
		width *= size
	}
	return int(width)
}

// String gives name, type and shape: "features float[?,64]".
func (t Info) String() string {
	sizes := make([]string, len(t.Shape))
	for i, size := range t.Shape {
		sizes[i] = "?"
		if size >= 0 {
			sizes[i] = strconv.FormatInt(size, 10)
		}
	}
	return fmt.Sprintf("%s %s[%s]", t.Name, t.Type, strings.Join(sizes, ","))
}

// Names are the names of some tensors, in order.
func Names(infos []Info) []string {
	all := make([]string, len(infos))
	for i, info := range infos {
		all[i] = info.Name
	}
	return all
}

// List is [Info.String] of some tensors, for messages.
func List(infos []Info) string {
	all := make([]string, len(infos))
	for i, info := range infos {
		all[i] = info.String()
	}
	return strings.Join(all, ", ")
}
