package cache_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehop/onehop/internal/cache"
)

func TestDirFollowsTheEnvironment(t *testing.T) {
	want := filepath.Join(t.TempDir(), "deep", "er")
	t.Setenv("ONEHOP_CACHE", want)
	got, err := cache.Dir()
	if err != nil || got != want {
		t.Fatalf("Dir() = %q, %v; want %q", got, err, want)
	}
	if info, err := os.Stat(got); err != nil || !info.IsDir() {
		t.Fatalf("Dir() didn't make the directory: %v", err)
	}
}

func TestInstallFillsOnceForAllWhoAsk(t *testing.T) {
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	var fills atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			path, err := cache.Install(t.Context(), "thing/1.0", func(_ context.Context, dir string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), []byte("whole"), 0o600)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(filepath.Join(path, "file")); err != nil || string(got) != "whole" {
				t.Errorf("entry holds %q, %v", got, err)
			}
		})
	}
	all.Wait()
	if fills.Load() != 1 {
		t.Errorf("filled %d times, want once", fills.Load())
	}
}

func TestInstallKeepsNothingOfAFailure(t *testing.T) {
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	broken := errors.New("no network")
	path, err := cache.Install(t.Context(), "thing", func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), broken)
	})
	if !errors.Is(err, broken) || path != "" {
		t.Fatalf("Install = %q, %v; want the error of fill", path, err)
	}
	path, err = cache.Install(t.Context(), "thing", func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(path); err != nil || len(left) != 0 {
		t.Fatalf("entry holds %v, %v; want nothing of the failed attempt", left, err)
	}
}

func TestInstallRefusesNamesOutsideTheCache(t *testing.T) {
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	for _, name := range []string{"", ".", "../up", "/root"} {
		if path, err := cache.Install(t.Context(), name, nil); err == nil {
			t.Errorf("Install(%q) = %q, want an error", name, path)
		}
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := cache.Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
	defer cancel()
	if _, err := cache.Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second Lock: %v, want the deadline", err)
	}
	unlock()
	again, err := cache.Lock(t.Context(), path)
	if err != nil {
		t.Fatalf("Lock after unlock: %v", err)
	}
	again()
}

// A child process must not see a half-filled entry, nor fill it a second time.
func TestInstallExcludesOtherProcesses(t *testing.T) {
	if os.Getenv("CACHE_TEST_CHILD") != "" {
		_, err := cache.Install(t.Context(), "shared", func(context.Context, string) error {
			return errors.New("the child was made to fill")
		})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Setenv("ONEHOP_CACHE", t.TempDir())
	t.Setenv("CACHE_TEST_CHILD", "1")
	var child *exec.Cmd
	_, err := cache.Install(t.Context(), "shared", func(ctx context.Context, _ string) error {
		child = exec.CommandContext(ctx, os.Args[0], "-test.run=^TestInstallExcludesOtherProcesses$")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		return child.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatalf("child: %v", err)
	}
}
