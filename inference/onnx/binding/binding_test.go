package binding_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/onehop/onehop/inference/onnx/binding"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/tensor"
)

var widths = []int{4, 8, 1}

// opened is a session of MLP(widths, 7), and memory for its tensors of three rows.
type opened struct {
	api             *binding.API
	session         *ort.DynamicAdvancedSession
	memory          *tensor.Memory
	inputs, outputs []binding.Tensor
}

func open(t *testing.T) *opened {
	t.Helper()
	runtime := onnxtest.Open(t)
	api, err := binding.Open(runtime.Library())
	if err != nil {
		t.Fatal(err)
	}
	model := onnxtest.MLP(widths, 7)
	in, out, err := ort.GetInputOutputInfoWithONNXData(model)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{api: api}
	o.session, err = ort.NewDynamicAdvancedSessionWithONNXData(model, []string{in[0].Name}, []string{out[0].Name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 3
	info := func(name string, width int) tensor.Info {
		return tensor.Info{Name: name, Type: tensor.Float32, Shape: []int64{-1, int64(width)}}
	}
	o.memory, err = tensor.NewMemory([]tensor.Info{info(in[0].Name, widths[0])}, []tensor.Info{info(out[0].Name, 1)}, rows)
	if err != nil {
		t.Fatal(err)
	}
	place := func(name string, width int, data []byte) []binding.Tensor {
		return []binding.Tensor{{
			Name: name, Type: ort.TensorElementDataTypeFloat, Shape: []int64{rows, int64(width)},
			Data: unsafe.Pointer(unsafe.SliceData(data)), Bytes: len(data),
		}}
	}
	o.inputs = place(in[0].Name, widths[0], o.memory.Input(0, rows))
	o.outputs = place(out[0].Name, 1, o.memory.Output(0, rows))
	t.Cleanup(func() {
		if err := o.session.Destroy(); err != nil {
			t.Error(err)
		}
		if err := o.memory.Free(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func options(t *testing.T) *ort.RunOptions {
	t.Helper()
	o, err := ort.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func TestARunReadsAndWritesWhatIsBound(t *testing.T) {
	o := open(t)
	bound, err := o.api.New(o.session, "Cpu", 0, o.inputs, o.outputs)
	if err != nil {
		t.Fatal(err)
	}
	defer bound.Close()
	run := options(t)
	if err := o.api.SetGraph(run, 3); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		for i := range o.memory.Float32(0) {
			o.memory.Float32(0)[i] = float32(round*i) / 8
		}
		if err := bound.Run(run); err != nil {
			t.Fatal(err)
		}
		o.memory.Done(3)
		want := onnxtest.EvaluateMLP(widths, 7, o.memory.Float32(0))
		for i, got := range o.memory.Scores(0) {
			if math.Abs(float64(got)-want[i]) > 1e-5 {
				t.Errorf("round %d: row %d scores %v, want %v", round, i, got, want[i])
			}
		}
	}
	if err := run.Terminate(); err != nil {
		t.Fatal(err)
	}
	if err := bound.Run(run); err == nil || !strings.Contains(err.Error(), "terminate") {
		t.Errorf("a run that was told to end: %v", err)
	}
	bound.Close() // and once more by defer
}

func TestWhatCannotBeBoundIsNamed(t *testing.T) {
	o := open(t)
	wrong := o.inputs[0]
	wrong.Name = "nothing"
	if _, err := o.api.New(o.session, "Cpu", 0, []binding.Tensor{wrong}, nil); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("another name: %v", err)
	}
	wrong = o.inputs[0]
	wrong.Bytes--
	if _, err := o.api.New(o.session, "Cpu", 0, []binding.Tensor{wrong}, nil); err == nil || !strings.Contains(err.Error(), wrong.Name) {
		t.Errorf("too few bytes: %v", err)
	}
	if _, err := o.api.New(o.session, "Abacus", 0, o.inputs, o.outputs); err == nil || !strings.Contains(err.Error(), "Abacus") {
		t.Errorf("another device: %v", err)
	}
	wrong = o.inputs[0]
	wrong.Shape = []int64{4, 3}
	bound, err := o.api.New(o.session, "Cpu", 0, []binding.Tensor{wrong}, o.outputs)
	if err != nil {
		t.Fatal(err)
	}
	defer bound.Close()
	if err := bound.Run(options(t)); err == nil || !strings.Contains(err.Error(), wrong.Name) {
		t.Errorf("another shape: %v", err)
	}
}

func TestWhatWasDestroyedIsRefused(t *testing.T) {
	o := open(t)
	ended, err := ort.NewRunOptions()
	if err != nil {
		t.Fatal(err)
	}
	if err := ended.Destroy(); err != nil {
		t.Fatal(err)
	}
	if err := o.api.SetGraph(ended, 1); err == nil || !strings.Contains(err.Error(), "destroyed") {
		t.Errorf("options that were destroyed: %v", err)
	}
	if _, err := o.api.New(&ort.DynamicAdvancedSession{}, "Cpu", 0, o.inputs, o.outputs); err == nil {
		t.Error("a session of nothing was bound")
	}
	if _, err := binding.Open("/nowhere/libonnxruntime.so"); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a library that is not loaded: %v", err)
	}
}

// TestPlaces counts the functions in the header that onnxruntime_go has beside its code.
func TestPlaces(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "onnxruntime_c_api.h"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(header), "\nstruct OrtApi {")
	table, _, _ = strings.Cut(table, "\n};")
	table = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`).ReplaceAllString(table, "")
	function := regexp.MustCompile(`ORT_API_CALL\s*\*\s*(\w+)\)|ORT_API2_STATUS\((\w+)|ORT_API_T\([^,]+,\s*(\w+)|ORT_(CLASS_RELEASE)\((\w+)`)
	place := map[string]int{}
	for i, m := range function.FindAllStringSubmatch(table, -1) {
		name := m[1] + m[2] + m[3] + m[5]
		if m[4] != "" {
			name = "Release" + name
		}
		place[name] = i
	}
	code, err := os.ReadFile("capi.go")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`(?m)^\t(\w+) = (\d+),$`).FindAllStringSubmatch(string(code), -1)
	if len(used) < 10 {
		t.Fatalf("capi.go names %d functions", len(used))
	}
	for _, m := range used {
		if at, ok := place[m[1]]; !ok || strconv.Itoa(at) != m[2] {
			t.Errorf("%s is at %d of the header (it is there: %t), and not at %s", m[1], at, ok, m[2])
		}
	}
}
