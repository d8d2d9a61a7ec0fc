package onnx_test

import (
	"context"
	"fmt"

	"github.com/onehop/onehop/inference/onnx"
)

// Score two candidates of four features each.
func Example() {
	score := func(ctx context.Context, model string) error {
		library, err := onnx.FindLibrary("")
		if err != nil {
			return err
		}
		runtime, err := onnx.Open(library)
		if err != nil {
			return err
		}
		defer func() { _ = runtime.Close() }()
		session, err := runtime.Load(model, onnx.Options{Outputs: []string{"scores"}})
		if err != nil {
			return err
		}
		defer func() { _ = session.Close() }()
		batch, err := session.NewBatch(500) // once; keep it for later runs
		if err != nil {
			return err
		}
		defer func() { _ = batch.Close() }()
		copy(batch.Memory().Float32(0), []float32{12, 4.1, 1995, 3, 12, 4.1, 2003, 3})
		if err := batch.Run(ctx, 2); err != nil {
			return err
		}
		fmt.Println(batch.Memory().Scores(0))
		return nil
	}
	_ = score // a model file is needed to run it
}
