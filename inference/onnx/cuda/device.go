// Package cuda moves memory between the processor and a GPU, as far as captured graphs need it: they read and write fixed addresses
// of the device. It calls CUDA's runtime library, which is loaded when a device is opened, and needed by nobody else.
package cuda

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

// The functions of CUDA's runtime library that are used, and nothing of its headers, which need not be installed. Source of the
// signatures: CUDA Runtime API, memory management. Each returns a cudaError_t, 0 where all went well.
typedef struct {
	int (*setDevice)(int device);
	int (*allocate)(void **memory, size_t size);
	int (*free)(void *memory);
	int (*copyAsync)(void *to, const void *from, size_t size, int kind, void *stream);
	int (*synchronize)(void *stream);
	int (*pin)(void *memory, size_t size, unsigned flags);
	int (*unpin)(void *memory);
	const char *(*explain)(int error);
} Functions;

enum { hostToDevice = 1, deviceToHost = 2 }; // of cudaMemcpyKind

// load fills in the functions, and says which of them the library lacks.
static const char *load(Functions *f, void *library) {
	static const char *names[] = {
		"cudaSetDevice", "cudaMalloc", "cudaFree", "cudaMemcpyAsync", "cudaStreamSynchronize",
		"cudaHostRegister", "cudaHostUnregister", "cudaGetErrorString",
	};
	void **function = (void **)f;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		function[i] = dlsym(library, names[i]);
		if (function[i] == NULL) {
			return names[i];
		}
	}
	return NULL;
}

static int setDevice(Functions *f, int device) { return f->setDevice(device); }
static int allocate(Functions *f, void **memory, size_t size) { return f->allocate(memory, size); }
static int release(Functions *f, void *memory) { return f->free(memory); }
static int copyAsync(Functions *f, void *to, const void *from, size_t size, int kind) {
	return f->copyAsync(to, from, size, kind, NULL);
}
static int synchronize(Functions *f) { return f->synchronize(NULL); }
static int pin(Functions *f, void *memory, size_t size) { return f->pin(memory, size, 0); }
static int unpin(Functions *f, void *memory) { return f->unpin(memory); }
static const char *explain(Functions *f, int error) { return f->explain(error); }
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// libraries are the names of CUDA's runtime library, newest first. ONNX Runtime's provider has loaded one of them already.
var libraries = []string{"libcudart.so.13", "libcudart.so.12"}

// Device is a GPU. For CUDA each thread of the operating system has a device of its own, so all methods are for the one thread that
// called [Device.Use], with its goroutine locked to it.
type Device struct {
	id int
	c  C.Functions // of the library, which stays loaded: a provider of ONNX Runtime uses it too
}

// Open finds CUDA's runtime library. Whether there is such a GPU, [Device.Use] tells.
func Open(id int) (*Device, error) { return open(id, libraries) }

func open(id int, libraries []string) (*Device, error) {
	var tried []string
	for _, name := range libraries {
		text := C.CString(name)
		library := C.dlopen(text, C.RTLD_LAZY)
		C.free(unsafe.Pointer(text))
		if library == nil {
			tried = append(tried, C.GoString(C.dlerror()))
			continue
		}
		d := &Device{id: id}
		if missing := C.load(&d.c, library); missing != nil {
			return nil, fmt.Errorf("CUDA's runtime library %s has no %s", name, C.GoString(missing))
		}
		return d, nil
	}
	return nil, fmt.Errorf("CUDA's runtime library cannot be loaded: %s", strings.Join(tried, "; "))
}

// check says what an error of CUDA means.
func (d *Device) check(doing string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s on GPU %d: CUDA: %s", doing, d.id, C.GoString(C.explain(&d.c, code)))
}

// Memory is ONNX Runtime's name for the device's memory, and its number.
func (d *Device) Memory() (name string, id int) { return "Cuda", d.id }

// Use makes the device that of the calling thread.
func (d *Device) Use() error { return d.check("begin", C.setDevice(&d.c, C.int(d.id))) }

// Allocate gives memory of the device, which goes back by Free. It must not be touched but by Upload and Download.
func (d *Device) Allocate(size int) (memory unsafe.Pointer, err error) {
	err = d.check(fmt.Sprintf("allocate %d bytes", size), C.allocate(&d.c, &memory, C.size_t(size)))
	return memory, err
}

// Free gives memory of the device back; nil is nothing to give.
func (d *Device) Free(memory unsafe.Pointer) error {
	return d.check("free memory", C.release(&d.c, memory))
}

// Pin keeps memory outside the Go heap at its place, so that the device reads and writes it by itself, until Unpin.
func (d *Device) Pin(memory []byte) error {
	return d.check("pin memory", C.pin(&d.c, unsafe.Pointer(unsafe.SliceData(memory)), C.size_t(len(memory))))
}

// Unpin ends Pin, before the memory is freed.
func (d *Device) Unpin(memory []byte) error {
	return d.check("unpin memory", C.unpin(&d.c, unsafe.Pointer(unsafe.SliceData(memory))))
}

// Upload begins to copy to the device; from must stay as it is until Wait.
func (d *Device) Upload(to unsafe.Pointer, from []byte) error {
	return d.check("upload", C.copyAsync(&d.c, to, unsafe.Pointer(unsafe.SliceData(from)), C.size_t(len(from)), C.hostToDevice))
}

// Download begins to copy from the device; to is not there until Wait.
func (d *Device) Download(to []byte, from unsafe.Pointer) error {
	return d.check("download", C.copyAsync(&d.c, unsafe.Pointer(unsafe.SliceData(to)), from, C.size_t(len(to)), C.deviceToHost))
}

// Wait returns when all that was begun is done. A provider's own stream does not wait for it by itself.
func (d *Device) Wait() error { return d.check("wait", C.synchronize(&d.c)) }
