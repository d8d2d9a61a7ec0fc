package onnx

import (
	"fmt"
	"strconv"
	"strings"

	ort "github.com/yalue/onnxruntime_go"
)

// ElementType is the type of a tensor's elements.
type ElementType int

// The element types that batches handle. Other stands for all the rest, and for outputs that are no tensors.
const (
	Other ElementType = iota
	Float32
	Float64
	Int64
	String
)

// String names the type as ONNX's text form does.
func (t ElementType) String() string {
	return [...]string{"other", "float", "double", "int64", "string"}[t]
}

// size is the bytes of one element in a batch's memory; strings live elsewhere.
func (t ElementType) size() int {
	switch t {
	case Float32:
		return 4
	case Float64, Int64:
		return 8
	default:
		return 0
	}
}

func (t ElementType) ort() ort.TensorElementDataType {
	switch t {
	case Float32:
		return ort.TensorElementDataTypeFloat
	case Float64:
		return ort.TensorElementDataTypeDouble
	case Int64:
		return ort.TensorElementDataTypeInt64
	case String:
		return ort.TensorElementDataTypeString
	default:
		return ort.TensorElementDataTypeUndefined
	}
}

func elementTypeOf(info ort.InputOutputInfo) ElementType {
	if info.OrtValueType != ort.ONNXTypeTensor {
		return Other
	}
	for _, t := range []ElementType{Float32, Float64, Int64, String} {
		if t.ort() == info.DataType {
			return t
		}
	}
	return Other
}

// TensorInfo describes an input or output of a model.
type TensorInfo struct {
	Name string
	Type ElementType
	// Shape holds the sizes of the dimensions; -1 is one the model leaves open. The first dimension counts rows.
	Shape []int64
}

// MaxWidth is the most elements that one row of a tensor may have.
const MaxWidth = 1 << 24

// Width is the number of elements in a row: the product of all dimensions but the first, 1 for a vector. It is -1 if one of
// them is open or the product is over [MaxWidth].
func (t TensorInfo) Width() int {
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
func (t TensorInfo) String() string {
	sizes := make([]string, len(t.Shape))
	for i, size := range t.Shape {
		sizes[i] = "?"
		if size >= 0 {
			sizes[i] = strconv.FormatInt(size, 10)
		}
	}
	return fmt.Sprintf("%s %s[%s]", t.Name, t.Type, strings.Join(sizes, ","))
}

func tensorInfos(from []ort.InputOutputInfo) []TensorInfo {
	infos := make([]TensorInfo, len(from))
	for i, info := range from {
		infos[i] = TensorInfo{Name: info.Name, Type: elementTypeOf(info), Shape: append([]int64(nil), info.Dimensions...)}
	}
	return infos
}

func names(infos []TensorInfo) []string {
	all := make([]string, len(infos))
	for i, info := range infos {
		all[i] = info.Name
	}
	return all
}
