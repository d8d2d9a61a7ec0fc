package cuda

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// buildLibrary compiles the library of testdata with the compiler that cgo needs anyway.
func buildLibrary(t *testing.T, flags ...string) string {
	t.Helper()
	library := filepath.Join(t.TempDir(), "libcudart.so")
	arguments := append([]string{"-shared", "-fPIC", "-o", library, filepath.Join("testdata", "libcudart.c")}, flags...)
	if output, err := exec.CommandContext(t.Context(), "cc", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v: %s", err, output)
	}
	return library
}

func TestMemoryGoesToTheDeviceAndBack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d, err := open(3, []string{"libonehop-none.so", buildLibrary(t)})
	if err != nil {
		t.Fatal(err)
	}
	if name, id := d.Memory(); name != "Cuda" || id != 3 {
		t.Errorf("memory of %s %d", name, id)
	}
	if err := d.Use(); err != nil {
		t.Fatal(err)
	}
	const size = 4096
	host, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := d.Allocate(size)
	if err != nil {
		t.Fatal(err)
	}
	copy(host, "there and back")
	steps := []func() error{
		func() error { return d.Pin(host) },
		func() error { return d.Upload(memory, host) },
		d.Wait,
		func() error { clear(host); return nil },
		func() error { return d.Download(host, memory) },
		d.Wait,
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if got := string(host[:14]); got != "there and back" {
		t.Errorf("came back as %q", got)
	}
	if err := d.Pin(host); err == nil || !strings.Contains(err.Error(), "pin memory on GPU 3: CUDA: already mapped") {
		t.Errorf("pinned twice: %v", err)
	}
	for i, err := range []error{d.Unpin(host), d.Free(memory), d.Free(nil), unix.Munmap(host)} {
		if err != nil {
			t.Errorf("end %d: %v", i, err)
		}
	}
}

func TestWhatLacksIsNamed(t *testing.T) {
	if _, err := open(0, []string{"libonehop-none.so"}); err == nil || !strings.Contains(err.Error(), "libonehop-none.so") {
		t.Errorf("without a library: %v", err)
	}
	if _, err := open(0, []string{buildLibrary(t, "-DcudaHostRegister=other")}); err == nil || !strings.Contains(err.Error(), "cudaHostRegister") {
		t.Errorf("without a function: %v", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d, err := open(7, []string{buildLibrary(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Use(); err == nil || !strings.Contains(err.Error(), "GPU 7: CUDA: invalid device ordinal") {
		t.Errorf("without the GPU: %v", err)
	}
}
