package onnx_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/onehop/onehop/inference/onnx"
)

func TestFetchSaysWhatFailed(t *testing.T) {
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := onnx.Fetch(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "pip") || !strings.Contains(err.Error(), "npm") {
		t.Errorf("error %v, want both clients named", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := onnx.Fetch(ended, nil); err == nil {
		t.Error("fetched with an ended context")
	}
}

// fakeNpm is a PATH on which npm packs the given files and pip is missing.
func fakeNpm(t *testing.T, files map[string]string) {
	t.Helper()
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	bin := t.TempDir()
	packed := filepath.Join(bin, "packed.tgz")
	file, err := os.Create(packed)
	if err != nil {
		t.Fatal(err)
	}
	zipped := gzip.NewWriter(file)
	archive := tar.NewWriter(zipped)
	for name, text := range files {
		err := archive.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644})
		if err == nil {
			_, err = archive.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nexec /bin/cp %s onnxruntime-node-%s.tgz\n", packed, onnx.LibraryVersion)
	err = errors.Join(archive.Close(), zipped.Close(), file.Close(), os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
}

func TestFetchTakesNpmWherePipIsMissing(t *testing.T) {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	folder := fmt.Sprintf("package/bin/napi-v6/%s/%s/", runtime.GOOS, arch)
	fakeNpm(t, map[string]string{
		"package/bin/napi-v6/win32/x64/libonnxruntime.so.1": "wrong system",
		folder + "onnxruntime_binding.node":                 "no",
		folder + "libonnxruntime.so.1":                      "the library",
	})
	var steps []string
	path, err := onnx.Fetch(t.Context(), func(step string) { steps = append(steps, step) })
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "the library" {
		t.Errorf("%s holds %q, %v", path, text, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 || len(steps) != 2 {
		t.Errorf("the cache entry holds %v, %v; steps %q", left, err, steps)
	}
	steps = nil
	if again, err := onnx.Fetch(t.Context(), func(step string) { steps = append(steps, step) }); err != nil || again != path || steps != nil {
		t.Errorf("second Fetch = %q, %v, steps %q; want the entry that is there", again, err, steps)
	}
}

func TestFetchRefusesAPackageWithoutTheLibrary(t *testing.T) {
	fakeNpm(t, map[string]string{"package/package.json": "{}"})
	if path, err := onnx.Fetch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "libonnxruntime") {
		t.Errorf("Fetch = %q, %v; want that the library is missing", path, err)
	}
}
