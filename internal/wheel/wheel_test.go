package wheel_test

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onehop/onehop/internal/wheel"
)

// fakePip puts a shell script called pip3 on an otherwise bare PATH.
func fakePip(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "pip3"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
}

func TestDownloadReturnsTheWheelThatPipLeft(t *testing.T) {
	fakePip(t, `while [ "$1" != --dest ]; do shift; done; dest=$2; echo "$@" > "$dest/args"; : > "$dest/thing-1.0.whl"`)
	dir := t.TempDir()
	path, err := wheel.Download(t.Context(), dir, "thing==1.0", "manylinux_2_28_x86_64")
	if err != nil || path != filepath.Join(dir, "thing-1.0.whl") {
		t.Fatalf("Download = %q, %v", path, err)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil || !strings.Contains(string(args), "--platform manylinux_2_28_x86_64 thing==1.0") {
		t.Fatalf("pip was called with %s, %v", args, err)
	}
}

func TestDownloadSaysWhyPipRefused(t *testing.T) {
	fakePip(t, `echo progress; echo "ERROR: no such release" >&2; exit 1`)
	_, err := wheel.Download(t.Context(), t.TempDir(), "thing==1.0")
	if !errors.Is(err, wheel.ErrUnavailable) || !strings.Contains(err.Error(), "no such release") {
		t.Fatalf("error %v, want ErrUnavailable with pip's last line", err)
	}
}

func TestDownloadWithoutPip(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := wheel.Download(t.Context(), t.TempDir(), "thing==1.0"); !errors.Is(err, wheel.ErrUnavailable) {
		t.Fatalf("error %v, want ErrUnavailable", err)
	}
}

func TestDownloadReportsCancellationAsSuch(t *testing.T) {
	fakePip(t, `exit 0`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := wheel.Download(ctx, t.TempDir(), "thing==1.0")
	if !errors.Is(err, context.Canceled) || errors.Is(err, wheel.ErrUnavailable) {
		t.Fatalf("error %v, want only context.Canceled", err)
	}
}

func writeZip(t *testing.T, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.whl")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	for name, text := range files {
		member, err := archive.Create(name)
		if err == nil {
			_, err = member.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExtractWritesOnlyWhatWasPicked(t *testing.T) {
	path := writeZip(t, map[string]string{"pkg/lib.so.1": "library", "pkg/other": "no"})
	dir := t.TempDir()
	count, err := wheel.Extract(path, dir, func(member string) string {
		if strings.HasPrefix(member, "pkg/lib") {
			return "lib.so"
		}
		return ""
	})
	if err != nil || count != 1 {
		t.Fatalf("Extract = %d, %v; want one file", count, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "lib.so")); err != nil || string(text) != "library" {
		t.Fatalf("lib.so holds %q, %v", text, err)
	}
}

func TestExtractStaysInItsDirectory(t *testing.T) {
	path := writeZip(t, map[string]string{"../../evil": "x"})
	if _, err := wheel.Extract(path, t.TempDir(), func(member string) string { return member }); err == nil {
		t.Fatal("a member outside the directory was written")
	}
	if _, err := wheel.Extract(os.Args[0], t.TempDir(), func(string) string { return "" }); err == nil {
		t.Fatal("a file that is no archive was opened")
	}
}
