package onnxtest

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Names of the tensors of [MLP]'s models.
const (
	InputName  = "features"
	OutputName = "scores"
)

// MLP returns a multi-layer perceptron as an ONNX model: input "features" float32 [rows, widths[0]], output "scores" float32
// [rows, widths[last]], ReLU between the layers and a sigmoid at the end. Weights follow from seed. A three-layer ranker over
// 64 columns is MLP([]int{64, 128, 64, 1}, seed). It panics with fewer than two widths.
func MLP(widths []int, seed uint64) []byte {
	layers := mlpLayers(widths, seed)
	graph := Graph{
		Inputs:  []Value{{InputName, Float32, []int64{-1, int64(widths[0])}}},
		Outputs: []Value{{OutputName, Float32, []int64{-1, int64(widths[len(widths)-1])}}},
	}
	from := InputName
	for i, l := range layers {
		weights, bias, sum := fmt.Sprintf("w%d", i), fmt.Sprintf("b%d", i), fmt.Sprintf("sum%d", i)
		graph.Weights = append(
			graph.Weights,
			Weight{weights, []int64{int64(l.in), int64(l.out)}, l.weights},
			Weight{bias, []int64{int64(l.out)}, l.bias},
		)
		op, to := "Relu", fmt.Sprintf("hidden%d", i)
		if i == len(layers)-1 {
			op, to = "Sigmoid", OutputName
		}
		graph.Nodes = append(
			graph.Nodes,
			Node{Op: "Gemm", Inputs: []string{from, weights, bias}, Outputs: []string{sum}},
			Node{Op: op, Inputs: []string{sum}, Outputs: []string{to}},
		)
		from = to
	}
	return graph.Bytes()
}

// EvaluateMLP computes what the model MLP(widths, seed) answers for features (row-major, widths[0] values a row), in float64:
// the oracle for the runtime.
func EvaluateMLP(widths []int, seed uint64, features []float32) []float64 {
	layers := mlpLayers(widths, seed)
	var scores []float64
	for start := 0; start < len(features); start += widths[0] {
		row := make([]float64, widths[0])
		for i := range row {
			row[i] = float64(features[start+i])
		}
		for i, l := range layers {
			row = l.apply(row, i == len(layers)-1)
		}
		scores = append(scores, row...)
	}
	return scores
}

type layer struct {
	in, out       int
	weights, bias []float32 // weights is [in, out], row-major
}

func (l layer) apply(row []float64, last bool) []float64 {
	sums := make([]float64, l.out)
	for j := range sums {
		sum := float64(l.bias[j])
		for i, value := range row {
			sum += value * float64(l.weights[i*l.out+j])
		}
		if last {
			sums[j] = 1 / (1 + math.Exp(-sum))
		} else {
			sums[j] = max(sum, 0)
		}
	}
	return sums
}

func mlpLayers(widths []int, seed uint64) []layer {
	if len(widths) < 2 {
		panic("onnxtest: a perceptron needs the widths of its input and of at least one layer")
	}
	random := rand.New(rand.NewPCG(seed, 0x6f6e6e78))
	layers := make([]layer, len(widths)-1)
	for i := range layers {
		l := layer{in: widths[i], out: widths[i+1]}
		l.weights = make([]float32, l.in*l.out)
		l.bias = make([]float32, l.out)
		scale := math.Sqrt(2 / float64(l.in)) // He et al. 2015, keeps the variance through ReLU layers
		for j := range l.weights {
			l.weights[j] = float32(random.NormFloat64() * scale)
		}
		for j := range l.bias {
			l.bias[j] = float32(random.NormFloat64() * 0.1)
		}
		layers[i] = l
	}
	return layers
}
