// Package onnxtest writes small ONNX models for tests and benchmarks, so that neither needs Python or a download.
//
// It emits the protobuf of onnx.proto3 (field numbers are those of ONNX IR version 8) by hand and imports nothing but the
// wire encoder, except in runtime.go, which opens the shared library for tests.
package onnxtest

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// ElementType is an element type code of ONNX's TensorProto.DataType.
type ElementType int

// The element types that test models use.
const (
	Float32 ElementType = 1
	Int32   ElementType = 6
	Int64   ElementType = 7
	String  ElementType = 8
	Float16 ElementType = 10
	Float64 ElementType = 11
)

const (
	irVersion    = 8
	opsetVersion = 17
	mlDomain     = "ai.onnx.ml"
	mlVersion    = 3
)

// Value declares a graph input or output. A dimension of -1 is dynamic.
type Value struct {
	Name  string
	Type  ElementType
	Shape []int64
}

// Weight is a constant float32 tensor; Data has as many values as Shape says.
type Weight struct {
	Name  string
	Shape []int64
	Data  []float32
}

// Node is one operator. Attributes are already encoded: see [Int], [Ints], [Floats] and [Strings].
type Node struct {
	Op         string
	Domain     string // "" for the standard operators, "ai.onnx.ml" for the classic ones
	Inputs     []string
	Outputs    []string
	Attributes [][]byte
}

// Graph is a whole model.
type Graph struct {
	Inputs, Outputs []Value
	Weights         []Weight
	Nodes           []Node
}

// Bytes encodes the graph as an ONNX ModelProto.
func (g Graph) Bytes() []byte {
	var graph []byte
	for _, node := range g.Nodes {
		graph = appendMessage(graph, 1, node.bytes())
	}
	graph = appendString(graph, 2, "onnxtest")
	for _, weight := range g.Weights {
		graph = appendMessage(graph, 5, weight.bytes())
	}
	for _, input := range g.Inputs {
		graph = appendMessage(graph, 11, input.bytes())
	}
	for _, output := range g.Outputs {
		graph = appendMessage(graph, 12, output.bytes())
	}
	model := appendInt(nil, 1, irVersion)
	model = appendString(model, 2, "onehop")
	model = appendMessage(model, 7, graph)
	model = appendMessage(model, 8, appendInt(nil, 2, opsetVersion))
	model = appendMessage(model, 8, appendInt(appendString(nil, 1, mlDomain), 2, mlVersion))
	return model
}

func (n Node) bytes() []byte {
	var node []byte
	for _, name := range n.Inputs {
		node = appendString(node, 1, name)
	}
	for _, name := range n.Outputs {
		node = appendString(node, 2, name)
	}
	node = appendString(node, 4, n.Op)
	for _, attribute := range n.Attributes {
		node = appendMessage(node, 5, attribute)
	}
	if n.Domain != "" {
		node = appendString(node, 7, n.Domain)
	}
	return node
}

func (v Value) bytes() []byte {
	var shape []byte
	for _, size := range v.Shape {
		dimension := appendString(nil, 2, "rows")
		if size >= 0 {
			dimension = appendInt(nil, 1, size)
		}
		shape = appendMessage(shape, 1, dimension)
	}
	tensor := appendMessage(appendInt(nil, 1, int64(v.Type)), 2, shape)
	return appendMessage(appendString(nil, 1, v.Name), 2, appendMessage(nil, 1, tensor))
}

func (w Weight) bytes() []byte {
	var tensor []byte
	for _, size := range w.Shape {
		tensor = appendInt(tensor, 1, size)
	}
	tensor = appendInt(tensor, 2, int64(Float32))
	tensor = appendString(tensor, 8, w.Name)
	raw := make([]byte, 0, 4*len(w.Data))
	for _, value := range w.Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(value))
	}
	return appendMessage(tensor, 9, raw)
}

// Int encodes an integer attribute of a node.
func Int(name string, value int64) []byte {
	return appendInt(appendInt(appendString(nil, 1, name), 3, value), 20, 2)
}

// Ints encodes a list of integers as an attribute of a node.
func Ints(name string, values ...int64) []byte {
	attribute := appendString(nil, 1, name)
	for _, value := range values {
		attribute = appendInt(attribute, 8, value)
	}
	return appendInt(attribute, 20, 7)
}

// Floats encodes a list of floats as an attribute of a node.
func Floats(name string, values ...float32) []byte {
	attribute := appendString(nil, 1, name)
	for _, value := range values {
		attribute = protowire.AppendTag(attribute, 7, protowire.Fixed32Type)
		attribute = protowire.AppendFixed32(attribute, math.Float32bits(value))
	}
	return appendInt(attribute, 20, 6)
}

// Strings encodes a list of strings as an attribute of a node.
func Strings(name string, values ...string) []byte {
	attribute := appendString(nil, 1, name)
	for _, value := range values {
		attribute = appendString(attribute, 9, value)
	}
	return appendInt(attribute, 20, 8)
}

func appendInt(dst []byte, field protowire.Number, value int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), uint64(value))
}

func appendString(dst []byte, field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), value)
}

func appendMessage(dst []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), value)
}
