package onnx_test

import (
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// resident is the memory of this process in bytes.
func resident(t *testing.T) float64 {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("SKIPPED, nothing was tested: this system does not tell a process's memory:", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages * os.Getpagesize())
}

// TestLoadsGiveTheirMemoryBack loads, runs and closes a model of 1 MiB five hundred times.
func TestLoadsGiveTheirMemoryBack(t *testing.T) {
	// The C library keeps memory for each thread apart: on one thread it is the models' that is seen.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	runtime := onnxtest.Open(t)
	model := onnxtest.MLP([]int{256, 512, 256, 1}, 1)
	cycle := func() {
		session, err := runtime.LoadBytes("m", model, onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := session.NewBatch(100)
		if err != nil {
			t.Fatal(err)
		}
		if err := batch.Run(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		if err := batch.Close(); err != nil {
			t.Fatal(err)
		}
		if err := session.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cycles := func(n int) {
		for range n {
			cycle()
		}
	}
	// Allocators keep some pages for a while: the least of a few looks is what is held.
	held := func() float64 {
		least := resident(t)
		for range 9 {
			cycles(20)
			least = min(least, resident(t))
		}
		return least
	}
	cycles(300) // until the allocators have what they need
	before := held()
	cycles(500)
	after := held()
	t.Logf("%.1f MiB before 500 loads of %.1f MiB, %.1f MiB after", before/(1<<20), float64(len(model))/(1<<20), after/(1<<20))
	if after > before*1.05 {
		t.Errorf("the process grew from %.1f MiB to %.1f MiB", before/(1<<20), after/(1<<20))
	}
}
