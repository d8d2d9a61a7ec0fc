package onnx

import (
	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/tensor"
)

// ortType is a type as ONNX Runtime names it.
func ortType(t tensor.Type) ort.TensorElementDataType {
	switch t {
	case tensor.Float16:
		return ort.TensorElementDataTypeFloat16
	case tensor.Float32:
		return ort.TensorElementDataTypeFloat
	case tensor.Float64:
		return ort.TensorElementDataTypeDouble
	case tensor.Int32:
		return ort.TensorElementDataTypeInt32
	case tensor.Int64:
		return ort.TensorElementDataTypeInt64
	case tensor.String:
		return ort.TensorElementDataTypeString
	default:
		return ort.TensorElementDataTypeUndefined
	}
}

func typeOf(info ort.InputOutputInfo) tensor.Type {
	if info.OrtValueType != ort.ONNXTypeTensor {
		return tensor.Other
	}
	for t := tensor.Float16; t <= tensor.String; t++ {
		if ortType(t) == info.DataType {
			return t
		}
	}
	return tensor.Other
}

func tensorInfos(from []ort.InputOutputInfo) []tensor.Info {
	infos := make([]tensor.Info, len(from))
	for i, info := range from {
		infos[i] = tensor.Info{Name: info.Name, Type: typeOf(info), Shape: append([]int64(nil), info.Dimensions...)}
	}
	return infos
}
