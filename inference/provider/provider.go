// Package provider says what computes a model: the names and options of ONNX Runtime's execution providers, as a model.yaml
// chooses them. It holds data only and imports nothing, so that who reads a model.yaml needs no ONNX Runtime.
package provider

// The execution providers.
const (
	CPU      = "cpu"
	CUDA     = "cuda"
	TensorRT = "tensorrt"
)

// Options choose an execution provider. The zero value is the CPU.
type Options struct {
	// Name is CPU, CUDA or TensorRT; "" means CPU. What TensorRT does not take of a model is computed by CUDA, and what CUDA does
	// not take by the CPU.
	Name string
	// Fallback loads the model on the CPU where the provider cannot load it.
	Fallback bool
	// Device is the number of the GPU, from 0.
	Device int
	// MemoryLimit bounds the bytes of a model's arena of GPU memory, and of TensorRT's workspace; 0 means as much as there is.
	// CUDA's own libraries take some more.
	MemoryLimit int64
	// EngineCache is the directory in which TensorRT keeps the engines that it builds, for the next load; "" keeps none.
	EngineCache string
	// FP16 and INT8 let TensorRT compute in these types. INT8 wants a model that was quantised.
	FP16, INT8 bool
	// Graphs launches what a run does on the GPU as one CUDA graph, captured at load for each number of rows that runs have. The provider
	// must compute all of the model, and the memory of its runs on the device is one: they follow each other.
	Graphs bool
}
