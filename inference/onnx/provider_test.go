package onnx_test

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/provider"
)

// TestAProviderThatIsLackingIsRefused runs wherever a library lacks one, as the one that is fetched lacks both.
func TestAProviderThatIsLackingIsRefused(t *testing.T) {
	runtime := onnxtest.Open(t)
	model := onnxtest.MLP(widths, 7)
	for _, name := range []string{provider.CUDA, provider.TensorRT} {
		t.Run(name, func(t *testing.T) {
			options := onnx.Options{Provider: provider.Options{Name: name}}
			session, err := runtime.LoadBytes("m", model, options)
			if err == nil && hasGPU() == nil {
				_ = session.Close()
				t.Skip("SKIPPED, nothing was tested: this machine has a GPU, and its library the provider")
			}
			if !errors.Is(err, onnx.ErrNoProvider) || errors.Is(err, onnx.ErrBadModel) {
				t.Fatalf("error %v, want ErrNoProvider", err)
			}
			for _, part := range []string{"provider " + name, runtime.Library(), "cuDNN", "fallback: cpu"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %v doesn't say %q", err, part)
				}
			}
			options.Provider.Fallback = true
			session = onnxtest.Load(t, model, options)
			if session.Provider() != provider.CPU || !errors.Is(session.Fallback(), onnx.ErrNoProvider) {
				t.Errorf("it runs on %s because of %v, want cpu and ErrNoProvider", session.Provider(), session.Fallback())
			}
			checkScores(t, session, 1e-5)
		})
	}
}

func TestTheCPUIsNoFallback(t *testing.T) {
	options := onnx.Options{Provider: provider.Options{Name: provider.CPU, Fallback: true}}
	session := onnxtest.Load(t, onnxtest.MLP(widths, 7), options)
	if session.Provider() != provider.CPU || session.Fallback() != nil {
		t.Errorf("it runs on %s because of %v", session.Provider(), session.Fallback())
	}
	runtime := onnxtest.Open(t)
	if _, err := runtime.LoadBytes("m", []byte("no model"), options); !errors.Is(err, onnx.ErrBadModel) {
		t.Errorf("a bad model: %v, want ErrBadModel", err)
	}
	options.Provider = provider.Options{Name: "abacus"}
	if _, err := runtime.LoadBytes("m", onnxtest.MLP(widths, 7), options); err == nil || !strings.Contains(err.Error(), `"abacus"`) {
		t.Errorf("an unknown provider: %v", err)
	}
}

func hasGPU() error {
	_, err := os.Stat("/dev/nvidia0")
	return err
}

// loadOnGPU loads the model of checkScores, or skips the test where there is no GPU or no library for it.
func loadOnGPU(t *testing.T, options onnx.Options) *onnx.Session {
	t.Helper()
	if err := hasGPU(); err != nil {
		t.Skip("SKIPPED, nothing was tested: this machine has no NVIDIA GPU:", err)
	}
	session, err := onnxtest.Open(t).LoadBytes("m", onnxtest.MLP(widths, 7), options)
	if errors.Is(err, onnx.ErrNoProvider) {
		t.Skip("SKIPPED, nothing was tested:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
	if session.Provider() != options.Provider.Name || session.Fallback() != nil {
		t.Errorf("it runs on %s because of %v, want %s", session.Provider(), session.Fallback(), options.Provider.Name)
	}
	return session
}

func TestCUDA(t *testing.T) {
	session := loadOnGPU(t, onnx.Options{Provider: provider.Options{Name: provider.CUDA, MemoryLimit: 256 << 20}})
	checkScores(t, session, 1e-3) // CUDA may multiply in TF32
	const most = 63
	far := provider.Options{Name: provider.CUDA, Device: most}
	if _, err := onnxtest.Open(t).LoadBytes("m", onnxtest.MLP(widths, 7), onnx.Options{Provider: far}); err == nil {
		t.Error("a model was loaded on GPU 63")
	}
	far.Fallback = true
	fallen := onnxtest.Load(t, onnxtest.MLP(widths, 7), onnx.Options{Provider: far})
	if fallen.Provider() != provider.CPU || fallen.Fallback() == nil {
		t.Errorf("without GPU 63 it runs on %s because of %v", fallen.Provider(), fallen.Fallback())
	}
}

func TestTensorRT(t *testing.T) {
	cache := t.TempDir()
	options := provider.Options{Name: provider.TensorRT, MemoryLimit: 1 << 30, EngineCache: cache, FP16: true}
	session := loadOnGPU(t, onnx.Options{Provider: options})
	checkScores(t, session, 1e-2)
	if engines, err := os.ReadDir(cache); err != nil || len(engines) == 0 {
		t.Errorf("the engine cache holds %v, %v", engines, err)
	}
}

// checkScores runs MLP(widths, 7) on several numbers of rows.
func checkScores(t *testing.T, session *onnx.Session, tolerance float64) {
	t.Helper()
	batch := newBatch(t, session, 33)
	for _, rows := range []int{1, 33, 7, 2} {
		checkRun(t, session.Name(), batch, rows, tolerance)
	}
}

// checkRun runs MLP(widths, 7) on the batch's first rows.
func checkRun(t *testing.T, what string, batch *onnx.Batch, rows int, tolerance float64) {
	t.Helper()
	if err := batch.Run(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	compare(t, what, batch, rows, tolerance)
}

// compare tells where scores are not those of MLP(widths, 7); it may be called on any goroutine.
func compare(t *testing.T, what string, batch *onnx.Batch, rows int, tolerance float64) {
	t.Helper()
	want := onnxtest.EvaluateMLP(widths, 7, batch.Memory().Float32(0)[:rows*widths[0]])
	for i, got := range batch.Memory().Scores(0)[:rows] {
		if math.Abs(float64(got)-want[i]) > tolerance {
			t.Errorf("%s, %d rows: score %d is %v, want %v", what, rows, i, got, want[i])
		}
	}
}
