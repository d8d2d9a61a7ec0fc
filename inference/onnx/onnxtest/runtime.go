package onnxtest

import (
	"errors"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
	"github.com/onehop/onehop/internal/wheel"
)

// Open returns ONNX Runtime for a test or benchmark, installing the library first if need be, and closes it at the end. Where
// neither the library nor a package client is to be had, it skips the test and says so.
func Open(tb testing.TB) *onnx.Runtime {
	tb.Helper()
	path, err := onnx.FindLibrary("")
	if err != nil {
		path, err = onnx.Fetch(tb.Context(), func(step string) { tb.Log(step) })
	}
	if errors.Is(err, wheel.ErrUnavailable) {
		tb.Skipf("SKIPPED, nothing was tested: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	runtime, err := onnx.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := runtime.Close(); err != nil {
			tb.Error(err)
		}
	})
	return runtime
}

// Load opens the runtime, loads the model and closes both at the end of the test.
func Load(tb testing.TB, model []byte, options onnx.Options) *onnx.Session {
	tb.Helper()
	session, err := Open(tb).LoadBytes(tb.Name(), model, options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := session.Close(); err != nil {
			tb.Error(err)
		}
	})
	return session
}
