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
	testMemoryGivenBack(t, func(int) {
		session, err := runtime.LoadBytes("m", model, onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		runAndClose(t, session, 100)
		if err := session.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBatchesGiveTheirMemoryBack makes five hundred batches of one session, none of the size of another, and runs each on twenty
// numbers of rows.
func TestBatchesGiveTheirMemoryBack(t *testing.T) {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	session := onnxtest.Load(t, onnxtest.MLP([]int{256, 64, 1}, 1), onnx.Options{})
	testMemoryGivenBack(t, func(cycle int) { runAndClose(t, session, 20+cycle*211%500) })
}

func runAndClose(t *testing.T, session *onnx.Session, rows int) {
	t.Helper()
	batch, err := session.NewBatch(rows)
	if err != nil {
		t.Fatal(err)
	}
	for fewer := range min(20, rows) {
		if err := batch.Run(t.Context(), rows-fewer); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Close(); err != nil {
		t.Fatal(err)
	}
}

// testMemoryGivenBack compares the memory of the process before and after five hundred cycles, which are numbered.
func testMemoryGivenBack(t *testing.T, cycle func(int)) {
	t.Helper()
	done := 0
	cycles := func(n int) {
		for range n {
			cycle(done)
			done++
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
	cycles(500) // until the allocators have what they need
	before := held()
	cycles(500)
	after := held()
	t.Logf("%.1f MiB before 500 cycles, %.1f MiB after", before/(1<<20), after/(1<<20))
	if after > before*1.05 {
		t.Errorf("the process grew from %.1f MiB to %.1f MiB", before/(1<<20), after/(1<<20))
	}
}
