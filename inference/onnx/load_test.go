package onnx_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

func TestLoadReadsAFile(t *testing.T) {
	runtime := onnxtest.Open(t)
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, onnxtest.MLP(widths, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	session, err := runtime.Load(path, onnx.Options{IntraOpThreads: 2, InterOpThreads: 2})
	if err != nil {
		t.Fatal(err)
	}
	if session.Name() != path || session.Inputs()[0].Name != onnxtest.InputName {
		t.Errorf("session %q with inputs %v", session.Name(), session.Inputs())
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	if _, err := runtime.Load(path, onnx.Options{MaxFileBytes: 10}); !errors.Is(err, onnx.ErrBadModel) {
		t.Errorf("a file over the limit: %v, want ErrBadModel", err)
	}
	if _, err := runtime.Load(path+".missing", onnx.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestBadModelsAreErrors(t *testing.T) {
	runtime := onnxtest.Open(t)
	float := func(name string, shape ...int64) onnxtest.Value {
		return onnxtest.Value{Name: name, Type: onnxtest.Float32, Shape: shape}
	}
	graph := func(op string, input, output onnxtest.Value, attributes ...[]byte) []byte {
		return onnxtest.Graph{
			Inputs: []onnxtest.Value{input}, Outputs: []onnxtest.Value{output},
			Nodes: []onnxtest.Node{{
				Op: op, Inputs: []string{input.Name}, Outputs: []string{output.Name}, Attributes: attributes,
			}},
		}.Bytes()
	}
	for name, test := range map[string]struct {
		model   []byte
		outputs []string
		message string
	}{
		"empty":            {nil, nil, "ONNX"},
		"text":             {[]byte("not a model at all"), nil, ""},
		"unknown operator": {graph("Frobnicate", float("x", -1, 2), float("y", -1, 2)), nil, "Frobnicate"},
		"open width":       {graph("Relu", float("x", -1, -1), float("y", -1, -1)), nil, "x float[?,?]"},
		"scalar input":     {graph("Relu", float("x"), float("y")), nil, "[rows, ...]"},
		"huge width":       {graph("Relu", float("x", -1, 1<<61), float("y", -1, 1<<61)), nil, ""},
		"no such output":   {graph("Relu", float("x", -1, 2), float("y", -1, 2)), []string{"z"}, `"z", only y`},
		"rows not first": {
			graph("Transpose", float("x", -1, 2), float("y", 2, -1), onnxtest.Ints("perm", 1, 0)), nil, "rows must come first",
		},
		"text output": {
			graph("Identity", onnxtest.Value{Name: "x", Type: onnxtest.String, Shape: []int64{-1}},
				onnxtest.Value{Name: "y", Type: onnxtest.String, Shape: []int64{-1}}), nil, "numeric",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runtime.LoadBytes("m", test.model, onnx.Options{Outputs: test.outputs})
			if !errors.Is(err, onnx.ErrBadModel) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("error %v, want ErrBadModel with %q", err, test.message)
			}
		})
	}
}

// Every prefix of a model, and every model with one bad byte, loads or is refused, but never ends the process.
func TestDamagedModelsDoNotCrash(t *testing.T) {
	runtime := onnxtest.Open(t)
	model := onnxtest.MLP([]int{3, 4, 1}, 3)
	load := func(model []byte) bool {
		session, err := runtime.LoadBytes("damaged", model, onnx.Options{})
		if err != nil {
			return false
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
		return true
	}
	if !load(model) {
		t.Fatal("the whole model doesn't load")
	}
	for end := 0; end < len(model)-16; end += 1 + end/50 { // the tail holds the operator sets, which may miss one
		if load(model[:end]) {
			t.Errorf("the first %d of %d bytes loaded", end, len(model))
		}
	}
	for at := range model {
		damaged := append([]byte(nil), model...)
		damaged[at] ^= 0xff
		load(damaged)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(onnxtest.MLP([]int{2, 1}, 1))
	f.Add(mixed.Bytes())
	runtime := onnxtest.Open(f)
	f.Fuzz(func(t *testing.T, model []byte) {
		session, err := runtime.LoadBytes("fuzz", model, onnx.Options{})
		if err != nil {
			return
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestOpenSharesOneEnvironment(t *testing.T) {
	first := onnxtest.Open(t)
	second, err := onnx.Open(first.Library())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(second.Version(), "1.") {
		t.Errorf("version %q", second.Version())
	}
	if err := errors.Join(second.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := second.LoadBytes("m", onnxtest.MLP(widths, 1), onnx.Options{}); !errors.Is(err, onnx.ErrClosed) {
		t.Errorf("load on a closed runtime: %v, want ErrClosed", err)
	}
	session := onnxtest.Load(t, onnxtest.MLP(widths, 1), onnx.Options{})
	if session.FixedRows() != 0 {
		t.Errorf("FixedRows = %d, want any number", session.FixedRows())
	}
	if other, err := onnx.Open(os.Args[0]); err == nil {
		t.Errorf("a second library was opened beside the first: %v", other.Library())
	}
}

func TestCloseRefusesWhileSessionsAreOpen(t *testing.T) {
	runtime := onnxtest.Open(t)
	session, err := runtime.LoadBytes("m", onnxtest.MLP(widths, 1), onnx.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.Close(); err == nil {
		t.Fatal("the environment was stopped under an open session")
	}
	batch := newBatch(t, session, 1)
	if err := errors.Join(batch.Run(t.Context(), 1), session.Close(), runtime.Close()); err != nil {
		t.Error(err)
	}
	if runtime.Version() != "" {
		t.Error("a closed runtime names a version")
	}
}

func TestOpenRefusesWhatIsNoLibrary(t *testing.T) {
	if _, err := onnx.Open(filepath.Join(t.TempDir(), "none.so")); !errors.Is(err, onnx.ErrNoLibrary) {
		t.Errorf("a missing library: %v, want ErrNoLibrary", err)
	}
	if _, err := onnx.Open("load_test.go"); err == nil || !strings.Contains(err.Error(), "1.24") {
		t.Errorf("a source file was opened as a library: %v", err)
	}
}

func TestFindLibrary(t *testing.T) {
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	if _, err := onnx.FindLibrary("/no/such/libonnxruntime.so"); !errors.Is(err, onnx.ErrNoLibrary) {
		t.Errorf("a configured path that isn't there: %v, want ErrNoLibrary", err)
	}
	if path, err := onnx.FindLibrary(os.Args[0]); err != nil || path != os.Args[0] {
		t.Errorf("FindLibrary = %q, %v; want the configured path", path, err)
	}
	entry := filepath.Join(os.Getenv("ONEHOP_CACHE"), "onnxruntime-"+onnx.LibraryVersion)
	path, err := onnx.FindLibrary("")
	if err == nil && !strings.HasPrefix(path, entry) {
		t.Skipf("the system has a library: %s", path)
	}
	if !errors.Is(err, onnx.ErrNoLibrary) || !strings.Contains(err.Error(), "make setup") {
		t.Errorf("error %v, want ErrNoLibrary and what to run", err)
	}
	if err := errors.Join(os.MkdirAll(entry, 0o755), os.WriteFile(filepath.Join(entry, "libonnxruntime.so"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if path, err := onnx.FindLibrary(""); err != nil || filepath.Dir(path) != entry {
		t.Errorf("FindLibrary = %q, %v; want what is in the cache", path, err)
	}
}
