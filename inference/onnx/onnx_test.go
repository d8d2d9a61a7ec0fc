package onnx_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/tensor"
)

var widths = []int{5, 8, 4, 1}

func TestRunAnswersWhatTheModelComputes(t *testing.T) {
	session := onnxtest.Load(t, onnxtest.MLP(widths, 7), onnx.Options{})
	batch := newBatch(t, session, 40)
	random := rand.New(rand.NewPCG(1, 2))
	for _, rows := range []int{1, 40, 3, 40, 17, 1} {
		features := batch.Memory().Float32(0)
		for i := range features {
			features[i] = float32(random.NormFloat64())
		}
		if err := batch.Run(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		want := onnxtest.EvaluateMLP(widths, 7, features[:rows*widths[0]])
		got := batch.Memory().Scores(0)
		if len(got) != rows {
			t.Fatalf("%d scores for %d rows", len(got), rows)
		}
		for i, score := range got {
			if math.Abs(float64(score)-want[i]) > 1e-5 {
				t.Fatalf("row %d of %d: score %v, want %v", i, rows, score, want[i])
			}
		}
	}
}

func TestRunAllocatesNothingForARow(t *testing.T) {
	session := onnxtest.Load(t, onnxtest.MLP(widths, 7), onnx.Options{})
	batch := newBatch(t, session, 100)
	allocations := func(rows int) float64 {
		return testing.AllocsPerRun(50, func() {
			if err := batch.Run(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
		})
	}
	if one, many := allocations(1), allocations(100); many > one {
		t.Errorf("%v allocations for a row and %v for 100", one, many)
	}
}

func TestNaNGoesThrough(t *testing.T) {
	session := onnxtest.Load(t, onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "x", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Outputs: []onnxtest.Value{{Name: "y", Type: onnxtest.Float32, Shape: []int64{-1, 1}}},
		Nodes:   []onnxtest.Node{{Op: "Neg", Inputs: []string{"x"}, Outputs: []string{"y"}}},
	}.Bytes(), onnx.Options{})
	batch := newBatch(t, session, 2)
	batch.Memory().Float32(0)[0], batch.Memory().Float32(0)[1] = float32(math.NaN()), 2
	if err := batch.Run(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if got := batch.Memory().Scores(0); !math.IsNaN(float64(got[0])) || got[1] != -2 {
		t.Errorf("outputs %v, want [NaN -2]", got)
	}
}

// mixed has an int64, a float64 and a string input, a float64 and an int64 output, and one that isn't asked for.
var mixed = onnxtest.Graph{
	Inputs: []onnxtest.Value{
		{Name: "count", Type: onnxtest.Int64, Shape: []int64{-1, 2}},
		{Name: "price", Type: onnxtest.Float64, Shape: []int64{-1}},
		{Name: "genre", Type: onnxtest.String, Shape: []int64{-1}},
	},
	Outputs: []onnxtest.Value{
		{Name: "count_out", Type: onnxtest.Int64, Shape: []int64{-1, 2}},
		{Name: "unused", Type: onnxtest.String, Shape: []int64{-1}},
		{Name: "price_out", Type: onnxtest.Float64, Shape: []int64{-1}},
		{Name: "genre_out", Type: onnxtest.Int64, Shape: []int64{-1}},
	},
	Nodes: []onnxtest.Node{
		{Op: "Neg", Inputs: []string{"count"}, Outputs: []string{"count_out"}},
		{Op: "Neg", Inputs: []string{"price"}, Outputs: []string{"price_out"}},
		{Op: "Identity", Inputs: []string{"genre"}, Outputs: []string{"unused"}},
		{
			Op: "CategoryMapper", Domain: "ai.onnx.ml", Inputs: []string{"genre"}, Outputs: []string{"genre_out"},
			Attributes: [][]byte{
				onnxtest.Strings("cats_strings", "comedy", "drama"), onnxtest.Ints("cats_int64s", 10, 20),
				onnxtest.Int("default_int64", -1),
			},
		},
	},
}

func TestOtherElementTypes(t *testing.T) {
	session := onnxtest.Load(t, mixed.Bytes(), onnx.Options{Outputs: []string{"genre_out", "price_out", "count_out"}})
	batch := newBatch(t, session, 3)
	for _, rows := range []int{2, 3, 2} {
		copy(batch.Memory().Int64(0), []int64{1, 2, 3, 4, 5, 6})
		copy(batch.Memory().Float64(1), []float64{0.5, 1.5, 2.5})
		copy(batch.Memory().Strings(2), []string{"drama", "", "comedy"})
		if err := batch.Run(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		all := [][]float32{{20, -1, 10}, {-0.5, -1.5, -2.5}, {-1, -2, -3, -4, -5, -6}}
		want := [][]float32{all[0][:rows], all[1][:rows], all[2][:2*rows]}
		for i := range want {
			got := batch.Memory().Scores(i)
			if len(got) != len(want[i]) {
				t.Fatalf("output %s: %v, want %v", session.Outputs()[i], got, want[i])
			}
			for j := range got {
				if got[j] != want[i][j] {
					t.Fatalf("output %s: %v, want %v", session.Outputs()[i], got, want[i])
				}
			}
		}
	}
	if batch.Memory().Float32(0) != nil || batch.Memory().Int64(1) != nil || batch.Memory().Float64(2) != nil {
		t.Error("an input was given out as a type that it isn't")
	}
}

func TestMetadata(t *testing.T) {
	session := onnxtest.Load(t, mixed.Bytes(), onnx.Options{Outputs: []string{"count_out"}})
	want := []string{"count int64[?,2]", "price double[?]", "genre string[?]"}
	for i, info := range session.Inputs() {
		if info.String() != want[i] {
			t.Errorf("input %d is %s, want %s", i, info, want[i])
		}
	}
	if got := session.Outputs(); len(got) != 1 || got[0].String() != "count_out int64[?,2]" || got[0].Width() != 2 {
		t.Errorf("outputs %v", got)
	}
	if (tensor.Info{Shape: []int64{-1, 1 << 40, 1 << 40}}).Width() != -1 {
		t.Error("a width that overflows must not be taken for one that fits")
	}
}

func TestRunChecksItsArguments(t *testing.T) {
	model := onnxtest.MLP(widths, 7)
	session := onnxtest.Load(t, model, onnx.Options{})
	batch := newBatch(t, session, 4)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range map[string]error{
		"no rows":           batch.Run(t.Context(), 0),
		"too many rows":     batch.Run(t.Context(), 5),
		"an ended context":  batch.Run(ended, 1),
		"an empty batch":    func() error { _, err := session.NewBatch(0); return err }(),
		"outputs after all": nil,
	} {
		if (err == nil) != (name == "outputs after all") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if len(batch.Memory().Scores(0)) != 0 {
		t.Error("outputs before any run")
	}
}

func TestAnEndedContextEndsARun(t *testing.T) {
	// The same layer again and again: seconds of work from little memory.
	const width, layers = 512, 2000
	graph := onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "h0", Type: onnxtest.Float32, Shape: []int64{-1, width}}},
		Outputs: []onnxtest.Value{{Name: fmt.Sprint("h", layers), Type: onnxtest.Float32, Shape: []int64{-1, width}}},
		Weights: []onnxtest.Weight{{Name: "w", Shape: []int64{width, width}, Data: make([]float32, width*width)}},
	}
	for i := range layers {
		graph.Nodes = append(graph.Nodes, onnxtest.Node{Op: "MatMul", Inputs: []string{fmt.Sprint("h", i), "w"}, Outputs: []string{fmt.Sprint("h", i+1)}})
	}
	session := onnxtest.Load(t, graph.Bytes(), onnx.Options{})
	batch := newBatch(t, session, 256)
	start := time.Now()
	if err := batch.Run(t.Context(), 256); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	gone := errors.New("the caller went away")
	ctx, cancel := context.WithTimeoutCause(t.Context(), whole/20, gone)
	defer cancel()
	start = time.Now()
	if err := batch.Run(ctx, 256); !errors.Is(err, gone) {
		t.Errorf("error %v, want the context's cause", err)
	}
	if took := time.Since(start); took > whole/2 {
		t.Errorf("the run ended after %s, a whole one takes %s", took, whole)
	}
	if err := batch.Run(t.Context(), 1); err != nil {
		t.Errorf("the next run: %v", err)
	}
}

func TestFixedRows(t *testing.T) {
	session := onnxtest.Load(t, onnxtest.Graph{
		Inputs:  []onnxtest.Value{{Name: "x", Type: onnxtest.Float32, Shape: []int64{4, 3}}},
		Outputs: []onnxtest.Value{{Name: "y", Type: onnxtest.Float32, Shape: []int64{4, 3}}},
		Nodes:   []onnxtest.Node{{Op: "Relu", Inputs: []string{"x"}, Outputs: []string{"y"}}},
	}.Bytes(), onnx.Options{})
	if session.FixedRows() != 4 {
		t.Fatalf("FixedRows = %d, want 4", session.FixedRows())
	}
	if _, err := session.NewBatch(5); err == nil {
		t.Error("a batch of 5 rows was made for a model of 4")
	}
	batch := newBatch(t, session, 4)
	if err := batch.Run(t.Context(), 3); err == nil {
		t.Error("a model of 4 rows ran on 3")
	}
	if err := batch.Run(t.Context(), 4); err != nil {
		t.Error(err)
	}
}

func TestConcurrentRunsAndClose(t *testing.T) {
	session := onnxtest.Load(t, onnxtest.MLP(widths, 7), onnx.Options{})
	var all sync.WaitGroup
	started := make(chan struct{}, 8)
	for worker := range cap(started) {
		batch := newBatch(t, session, 16)
		all.Go(func() {
			for run := 0; ; run++ {
				err := batch.Run(t.Context(), 1+(worker+run)%16)
				if run == 0 {
					started <- struct{}{}
				}
				if errors.Is(err, onnx.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				batch.Memory().Float32(0)[0]++ // stays writable whatever the session does
			}
		})
	}
	for range cap(started) {
		<-started
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	if err := session.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	all.Wait()
	if _, err := session.NewBatch(1); !errors.Is(err, onnx.ErrClosed) {
		t.Errorf("NewBatch after Close: %v, want ErrClosed", err)
	}
}

func TestBatchCloseIsIdempotent(t *testing.T) {
	session := onnxtest.Load(t, onnxtest.MLP(widths, 7), onnx.Options{})
	batch, err := session.NewBatch(3)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(batch.Run(t.Context(), 3), batch.Close(), batch.Close()); err != nil {
		t.Fatal(err)
	}
	if err := batch.Run(t.Context(), 3); !errors.Is(err, onnx.ErrClosed) {
		t.Errorf("run on a closed batch: %v, want ErrClosed", err)
	}
	if batch.Memory().Float32(0) != nil || batch.Memory().Scores(0) != nil {
		t.Error("a closed batch gives memory out")
	}
}
