package onnx

import (
	"errors"
	"fmt"
	"strconv"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/provider"
)

// ErrNoProvider is wrapped by errors about an execution provider that the shared library does not have, or that lacks its own
// libraries or its device on this machine.
var ErrNoProvider = errors.New("the execution provider is not to be had")

// lacking says what to do about it.
func lacking(library, name string, err error) error {
	needs := "CUDA and cuDNN"
	if name == provider.TensorRT {
		needs = "CUDA, cuDNN and TensorRT"
	}
	return fmt.Errorf("provider %s: %w from %s (%w): it needs the GPU that is named, %s, and the build of ONNX Runtime for GPUs: "+
		"install what lacks and configure the library's path, or write fallback: cpu", name, ErrNoProvider, library, err, needs)
}

// setProvider makes the session compute by the provider. What it does not take of a model goes to the next: TensorRT, CUDA, CPU.
func setProvider(o *ort.SessionOptions, library string, p provider.Options) error {
	var err error
	switch p.Name {
	case "", provider.CPU:
		return nil
	case provider.CUDA:
		err = appendCUDA(o, p)
	case provider.TensorRT:
		if err = appendTensorRT(o, p); err == nil {
			err = appendCUDA(o, p)
		}
	default:
		return fmt.Errorf("provider %q: there are %s, %s and %s", p.Name, provider.CPU, provider.CUDA, provider.TensorRT)
	}
	if err != nil {
		return lacking(library, p.Name, err)
	}
	return nil
}

func appendCUDA(o *ort.SessionOptions, p provider.Options) (err error) {
	cuda, err := ort.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cuda.Destroy()) }()
	options := map[string]string{"device_id": strconv.Itoa(p.Device)}
	if p.MemoryLimit > 0 {
		options["gpu_mem_limit"] = strconv.FormatInt(p.MemoryLimit, 10)
	}
	if p.Graphs && p.Name == provider.CUDA {
		options["enable_cuda_graph"] = "1"
	}
	if err := cuda.Update(options); err != nil {
		return err
	}
	return o.AppendExecutionProviderCUDA(cuda)
}

func appendTensorRT(o *ort.SessionOptions, p provider.Options) (err error) {
	tensorRT, err := ort.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tensorRT.Destroy()) }()
	options := map[string]string{"device_id": strconv.Itoa(p.Device)}
	if p.MemoryLimit > 0 {
		options["trt_max_workspace_size"] = strconv.FormatInt(p.MemoryLimit, 10)
	}
	if p.EngineCache != "" {
		options["trt_engine_cache_enable"], options["trt_engine_cache_path"] = "1", p.EngineCache
	}
	if p.FP16 {
		options["trt_fp16_enable"] = "1"
	}
	if p.INT8 {
		options["trt_int8_enable"] = "1"
	}
	if p.Graphs {
		options["trt_cuda_graph_enable"] = "1"
	}
	if err := tensorRT.Update(options); err != nil {
		return err
	}
	return o.AppendExecutionProviderTensorRT(tensorRT)
}
