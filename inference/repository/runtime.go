package repository

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/onehop/onehop/inference/provider"
)

// Bounds of what a model.yaml asks of its runtime.
const (
	maxThreads     = 64
	maxDevice      = 63
	maxMemoryLimit = 1 << 40
)

// runtime reads the part on what computes the model.
func (d *decoder) runtime(n ast.Node) (threads int, o provider.Options) {
	given := map[string]ast.Node{} // what only a GPU's provider takes
	note := func(key string, decode func(ast.Node)) func(ast.Node) {
		return func(n ast.Node) {
			given[key] = n
			decode(n)
		}
	}
	d.fields(n, map[string]func(ast.Node){
		"provider":     func(n ast.Node) { o.Name = d.oneOf(n, provider.CPU, provider.CUDA, provider.TensorRT) },
		"threads":      func(n ast.Node) { threads = d.whole(n, maxThreads) },
		"fallback":     note("fallback", func(n ast.Node) { o.Fallback = d.oneOf(n, provider.CPU) != "" }),
		"device":       note("device", func(n ast.Node) { o.Device = d.device(n) }),
		"memory_limit": note("memory_limit", func(n ast.Node) { o.MemoryLimit = d.memory(n) }),
		"engine_cache": note("engine_cache", func(n ast.Node) { o.EngineCache = d.directory(n) }),
		"fp16":         note("fp16", func(n ast.Node) { o.FP16 = d.bool(n) }),
		"int8":         note("int8", func(n ast.Node) { o.INT8 = d.bool(n) }),
		"cuda_graph":   note("cuda_graph", func(n ast.Node) { o.Graphs = d.bool(n) }),
	})
	refuse := func(providers string, keys ...string) {
		for _, key := range keys {
			if at := given[key]; at != nil {
				d.reportf(at, "%s is for provider %s only", key, providers)
			}
		}
	}
	d.graphs = given["cuda_graph"]
	if o.Name == "" || o.Name == provider.CPU {
		refuse("cuda or tensorrt", "fallback", "device", "memory_limit", "cuda_graph")
	}
	if o.Name != provider.TensorRT {
		refuse("tensorrt", "engine_cache", "fp16", "int8")
	}
	return threads, o
}

// oneOf reads one of a few words; "" is none of them.
func (d *decoder) oneOf(n ast.Node, words ...string) string {
	got := n.GetToken().Value
	for _, word := range words {
		if n.Type() == ast.StringType && got == word {
			return word
		}
	}
	d.reportf(n, "want %s", strings.Join(words, ", or "))
	return ""
}

func (d *decoder) bool(n ast.Node) bool {
	value, ok := n.(*ast.BoolNode)
	if !ok {
		d.reportf(n, "want true or false")
		return false
	}
	return value.Value
}

// device reads the number of a GPU.
func (d *decoder) device(n ast.Node) int {
	value, err := strconv.Atoi(n.GetToken().Value)
	if n.Type() != ast.IntegerType || err != nil || value < 0 || value > maxDevice {
		d.reportf(n, "want the number of a GPU from 0 to %d", maxDevice)
		return 0
	}
	return value
}

// memory reads an amount like 512MiB or 2GiB, in bytes.
func (d *decoder) memory(n ast.Node) int64 {
	text := n.GetToken().Value
	for unit, bytes := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		digits, ok := strings.CutSuffix(text, unit)
		if value, err := strconv.ParseInt(digits, 10, 32); ok && err == nil && value > 0 && value <= maxMemoryLimit/bytes {
			return value * bytes
		}
	}
	d.reportf(n, "want an amount of memory up to %dGiB, like 512MiB or 2GiB", maxMemoryLimit>>30)
	return 0
}

// directory reads an absolute path: a relative one would mean another place with every way of starting infer.
func (d *decoder) directory(n ast.Node) string {
	path := d.text(n)
	if path != "" && !filepath.IsAbs(path) {
		d.reportf(n, "want an absolute path, not %q", path)
	}
	return path
}
