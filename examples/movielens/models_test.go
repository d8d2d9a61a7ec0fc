package movielens_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
	"github.com/onehop/onehop/inference/repository"
)

// versions are the committed models; both must be there.
func versions(tb testing.TB) []repository.Version {
	tb.Helper()
	repo, err := repository.Open("models")
	if err != nil {
		tb.Fatal(err)
	}
	found, err := repo.Scan()
	if err != nil {
		tb.Fatal(err)
	}
	if len(found) < 2 {
		tb.Fatalf("the repository has %d versions, want both models", len(found))
	}
	for _, v := range found {
		if v.Err != nil {
			tb.Fatal(v.Err)
		}
	}
	return found
}

func session(tb testing.TB, v repository.Version) *onnx.Session {
	tb.Helper()
	model, err := os.ReadFile(v.ModelPath)
	if err != nil {
		tb.Fatal(err)
	}
	s := onnxtest.Load(tb, model, onnx.Options{Outputs: []string{v.Spec.Output}})
	if err := v.Spec.Check(s.Inputs(), s.Outputs()); err != nil {
		tb.Fatal(err)
	}
	return s
}

func newBatch(tb testing.TB, s *onnx.Session, rows int) *onnx.Batch {
	tb.Helper()
	batch, err := s.NewBatch(rows)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := batch.Close(); err != nil {
			tb.Error(err)
		}
	})
	return batch
}

// TestModelsGiveTheScoresOfTheirTrainers: numpy and LightGBM computed the scores of examples.json when the models were made.
func TestModelsGiveTheScoresOfTheirTrainers(t *testing.T) {
	for _, v := range versions(t) {
		t.Run(v.Model, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(v.Dir, "examples.json"))
			if err != nil {
				t.Fatal(err)
			}
			var examples struct {
				Features [][]float32
				Scores   []float64
			}
			if err := json.Unmarshal(text, &examples); err != nil {
				t.Fatal(err)
			}
			rows := len(examples.Scores)
			if rows < 10 || len(examples.Features) != rows {
				t.Fatalf("%d rows with %d scores, want at least 10", len(examples.Features), rows)
			}
			batch := newBatch(t, session(t, v), rows)
			for i, row := range examples.Features {
				if copy(batch.Memory().Float32(0)[i*len(row):], row) != len(v.Spec.Inputs[0].Columns) {
					t.Fatalf("row %d has %d values", i, len(row))
				}
			}
			if err := batch.Run(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
			least, greatest := 1.0, 0.0
			for i, want := range examples.Scores {
				if got := float64(batch.Memory().Scores(0)[i]); math.Abs(got-want) > 1e-5 {
					t.Errorf("row %d scores %v, want %v", i, got, want)
				}
				least, greatest = min(least, want), max(greatest, want)
			}
			if greatest-least < 0.1 {
				t.Errorf("the scores lie between %v and %v: they tell nothing", least, greatest)
			}
		})
	}
}

// BenchmarkModels runs each model on 100 candidates, as one request does.
func BenchmarkModels(b *testing.B) {
	for _, v := range versions(b) {
		b.Run(v.Model, func(b *testing.B) {
			batch := newBatch(b, session(b, v), 100)
			for i := range batch.Memory().Float32(0) {
				batch.Memory().Float32(0)[i] = float32(i % 7)
			}
			for b.Loop() {
				if err := batch.Run(b.Context(), 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
