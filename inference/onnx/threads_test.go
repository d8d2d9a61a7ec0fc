package onnx_test

import (
	"os"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// TestThreadsAreTheSessions counts the threads of the process: a session has all but one of its own, the runs' being the one.
func TestThreadsAreTheSessions(t *testing.T) {
	count := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Skip("SKIPPED, nothing was tested: this system does not list a process's threads:", err)
		}
		return len(tasks)
	}
	runtime := onnxtest.Open(t)
	load := func(threads int) *onnx.Session {
		session, err := runtime.LoadBytes("m", onnxtest.MLP(widths, 7), onnx.Options{IntraOpThreads: threads})
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
	one := load(0)
	before := count()
	many := load(33)
	during := count()
	if err := many.Close(); err != nil {
		t.Error(err)
	}
	after := count()
	// Go may start or end a few threads of its own meanwhile.
	const slack = 8
	if got := during - before; got < 32-slack || got > 32+slack {
		t.Errorf("a session of 33 threads started %d, want 32", got)
	}
	if got := during - after; got < 32-slack || got > 32+slack {
		t.Errorf("its Close ended %d threads, want 32", got)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
}
