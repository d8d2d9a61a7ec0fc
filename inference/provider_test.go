package inference

import (
	"os"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// TestAProviderThatIsLacking asks for a GPU that no machine has.
func TestAProviderThatIsLacking(t *testing.T) {
	const gpu = "runtime: {provider: cuda, device: 63}\n"
	m := newSet(t, spec+gpu).Models()[0]
	if m.Hop != nil || m.Problem == nil || !strings.Contains(m.Problem.Error(), "cuda") {
		t.Errorf("without a fallback: %v, want cuda named", m.Problem)
	}
	set := newSet(t, spec+strings.Replace(gpu, "63", "63, fallback: cpu", 1))
	m = set.Models()[0]
	if m.Hop == nil || m.Hop.Model.Provider != "cpu" {
		t.Fatalf("with a fallback it is not served by the CPU: %v", m.Problem)
	}
	if m.Problem == nil || !strings.Contains(m.Problem.Error(), "computed by the CPU") {
		t.Errorf("the fallback is not told: %v", m.Problem)
	}
	var result Result
	if err := m.Hop.Run(t.Context(), request(t, m.Hop, 3), &result); err != nil || len(result.Scores) != 3 {
		t.Errorf("%v, %v", result.Scores, err)
	}
}

func TestAModelSaysWhatComputesIt(t *testing.T) {
	m := newSetOf(t, definitions, onnxtest.MLP(widths, seed), spec).Models()[0]
	if m.Problem != nil || m.Hop.Model.Provider != "cpu" || m.Hop.Model.Fallback != nil {
		t.Errorf("%s, %v, %v", m.Hop.Model.Provider, m.Hop.Model.Fallback, m.Problem)
	}
}

func TestThreadsReachTheRuntime(t *testing.T) {
	count := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Skip("SKIPPED, nothing was tested: this system does not list a process's threads:", err)
		}
		return len(tasks)
	}
	newSet(t, spec)
	before := count()
	newSet(t, spec+"runtime: {threads: 33}\n")
	// Go may start or end a few of its own meanwhile.
	if started := count() - before; started < 24 {
		t.Errorf("a model of 33 threads started %d", started)
	}
}
