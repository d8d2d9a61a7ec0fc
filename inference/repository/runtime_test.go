package repository_test

import (
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/provider"
	"github.com/onehop/onehop/inference/repository"
)

func TestParseRuntime(t *testing.T) {
	type parsed struct {
		threads  int
		provider provider.Options
	}
	for text, want := range map[string]parsed{
		"{threads: 4}":                {threads: 4},
		"{provider: cpu}":             {provider: provider.Options{Name: provider.CPU}},
		"{provider: cuda, device: 0}": {provider: provider.Options{Name: provider.CUDA}},
		"{fallback: cpu, provider: cuda, device: 3, memory_limit: 512MiB}": {
			provider: provider.Options{Name: provider.CUDA, Fallback: true, Device: 3, MemoryLimit: 512 << 20},
		},
		"{provider: tensorrt, memory_limit: 2GiB, engine_cache: /var/cache/engines, fp16: true, int8: true, threads: 2}": {
			threads: 2,
			provider: provider.Options{
				Name: provider.TensorRT, MemoryLimit: 2 << 30, EngineCache: "/var/cache/engines", FP16: true, INT8: true,
			},
		},
		"{provider: cuda, cuda_graph: true}\nbatching: {sizes: [1, 64]}": {provider: provider.Options{Name: provider.CUDA, Graphs: true}},
		"{provider: tensorrt, cuda_graph: false}":                        {provider: provider.Options{Name: provider.TensorRT}},
	} {
		spec, err := repository.Parse("m.yaml", []byte(good+"runtime: "+text+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := (parsed{spec.Threads, spec.Provider}); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestGraphsNeedSizes(t *testing.T) {
	_, err := repository.Parse("m.yaml", []byte(good+"runtime: {provider: cuda, cuda_graph: true}\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "m.yaml:13:39: cuda_graph captures one graph") {
		t.Errorf("error %v, want it to ask for sizes", err)
	}
}

func TestParseRefusesARuntime(t *testing.T) {
	const line = "m.yaml:13:"
	for text, want := range map[string][]string{
		"{provider: rocm}": {"21: want cpu, or cuda, or tensorrt"},
		"{provider: 3}":    {"21: want cpu"},
		"{threads: 0}":     {"20: want a whole number from 1 to 64"},
		"{threads: 65}":    {"20: want a whole number from 1 to 64"},
		"{device: 1}":      {"19: device is for provider cuda or tensorrt only"},
		"{provider: cpu, memory_limit: 1GiB, fallback: cpu}": {
			"56: fallback is for", "40: memory_limit is for",
		},
		"{fp16: true, provider: cuda}":                    {"17: fp16 is for provider tensorrt only"},
		"{provider: cuda, engine_cache: /e, int8: false}": {"41: engine_cache is for", "51: int8 is for"},
		"{provider: cuda, fallback: tensorrt}":            {"37: want cpu"},
		"{provider: cuda, device: -1}":                    {"35: want the number of a GPU from 0 to 63"},
		"{provider: cuda, device: 64}":                    {"35: want the number of a GPU"},
		"{provider: cuda, memory_limit: 0GiB}":            {"41: want an amount of memory up to 1024GiB"},
		"{provider: cuda, memory_limit: 1025GiB}":         {"41: want an amount"},
		"{provider: cuda, memory_limit: 2GB}":             {"41: want an amount"},
		"{provider: cuda, memory_limit: 2000}":            {"41: want an amount"},
		"{provider: tensorrt, engine_cache: engines}":     {`45: want an absolute path, not "engines"`},
		"{provider: tensorrt, fp16: 1, cuda_graf: true}":  {"37: want true or false", `40: unknown field "cuda_graf"`},
		"{cuda_graph: false}":                             {"23: cuda_graph is for provider cuda or tensorrt only"},
		"cuda":                                            {"10: want a mapping"},
	} {
		_, err := repository.Parse("m.yaml", []byte(good+"runtime: "+text+"\n"))
		if err == nil {
			t.Errorf("%s was taken", text)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		if len(got) != len(want) {
			t.Errorf("%s: %d mistakes, want %d:\n%v", text, len(got), len(want), err)
			continue
		}
		for i := range want {
			if !strings.HasPrefix(got[i], line+want[i]) {
				t.Errorf("%s: mistake %d is\n  %s, want\n  %s", text, i, got[i], line+want[i])
			}
		}
	}
}
