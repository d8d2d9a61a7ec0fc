package onnx_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/inference/onnx/onnxtest"
)

// ranker is the model that the project's floors are measured with: 64 columns, three layers.
var ranker = onnxtest.MLP([]int{64, 128, 64, 1}, 1)

func BenchmarkRun(b *testing.B) {
	session := onnxtest.Load(b, ranker, onnx.Options{})
	for _, rows := range []int{1, 10, 100, 500} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			batch := newBatch(b, session, rows)
			for b.Loop() {
				if err := batch.Run(b.Context(), rows); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRunVaryingRows changes the number of rows with every run, as requests do.
func BenchmarkRunVaryingRows(b *testing.B) {
	session := onnxtest.Load(b, ranker, onnx.Options{})
	batch := newBatch(b, session, 200)
	rows := 0
	b.ReportAllocs()
	for b.Loop() {
		rows = rows%200 + 1
		if err := batch.Run(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRunParallel(b *testing.B) {
	session := onnxtest.Load(b, ranker, onnx.Options{})
	pool := sync.Pool{New: func() any { return newBatch(b, session, 100) }}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		batch := pool.Get().(*onnx.Batch)
		defer pool.Put(batch)
		for pb.Next() {
			if err := batch.Run(b.Context(), 100); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func newBatch(tb testing.TB, session *onnx.Session, maxRows int) *onnx.Batch {
	tb.Helper()
	batch, err := session.NewBatch(maxRows)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := batch.Close(); err != nil {
			tb.Error(err)
		}
	})
	if input := batch.Memory().Float32(0); input != nil {
		for i := range input {
			input[i] = float32(i%17)/17 - 0.5
		}
	}
	return batch
}
