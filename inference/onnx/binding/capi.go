package binding

/*
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// The functions that are used, by their place in struct OrtApi of onnxruntime_c_api.h. The struct holds pointers to functions only and
// grows at its end only, so a place never changes; a test counts them in the header.
enum {
	GetErrorMessage = 2,
	CreateTensorWithDataAsOrtValue = 49,
	CreateMemoryInfo = 68,
	ReleaseStatus = 93,
	ReleaseMemoryInfo = 94,
	ReleaseValue = 96,
	RunWithBinding = 133,
	CreateIoBinding = 134,
	ReleaseIoBinding = 135,
	BindInput = 136,
	BindOutput = 137,
	AddRunConfigEntry = 165,
};

typedef void *const *Table; // a struct OrtApi
typedef void *Status;       // an OrtStatus, NULL where all went well

// struct OrtApiBase begins with a function that returns the table of a version of the interface, or NULL.
static Table openTable(const char *library, uint32_t version) {
	void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD); // the runtime holds it
	if (handle == NULL) {
		return NULL;
	}
	void *(*base)(void) = (void *(*)(void))dlsym(handle, "OrtGetApiBase");
	Table table = base == NULL ? NULL : (*(Table(**)(uint32_t))base())(version);
	dlclose(handle);
	return table;
}

static const char *message(Table t, Status s) { return ((const char *(*)(Status))t[GetErrorMessage])(s); }

static void release(Table t, int function, void *object) { ((void (*)(void *))t[function])(object); }

// deviceMemory describes the default memory (OrtMemTypeDefault) of a device, not of an arena (OrtDeviceAllocator).
static Status deviceMemory(Table t, const char *device, int id, void **info) {
	return ((Status(*)(const char *, int, int, int, void **))t[CreateMemoryInfo])(device, 0, id, 0, info);
}

static Status newTensor(Table t, void *info, void *data, size_t size, const int64_t *shape, size_t dimensions, int type, void **value) {
	return ((Status(*)(void *, void *, size_t, const int64_t *, size_t, int, void **))t[CreateTensorWithDataAsOrtValue])(
		info, data, size, shape, dimensions, type, value);
}

static Status newBinding(Table t, void *session, void **binding) {
	return ((Status(*)(void *, void **))t[CreateIoBinding])(session, binding);
}

static Status bind(Table t, int function, void *binding, const char *name, void *value) {
	return ((Status(*)(void *, const char *, void *))t[function])(binding, name, value);
}

static Status run(Table t, void *session, void *options, void *binding) {
	return ((Status(*)(void *, void *, void *))t[RunWithBinding])(session, options, binding);
}

static Status configure(Table t, void *options, const char *key, const char *value) {
	return ((Status(*)(void *, const char *, const char *))t[AddRunConfigEntry])(options, key, value);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// version of the interface that is asked for: that of ONNX Runtime 1.17, which has all that is used here.
const version = 17

// API is the C interface of a library that the process has loaded. It is safe for concurrent use.
type API struct{ table C.Table }

// Open finds the interface of the library at the path by which it was loaded.
func Open(library string) (*API, error) {
	path := C.CString(library)
	defer C.free(unsafe.Pointer(path))
	table := C.openTable(path, version)
	if table == nil {
		return nil, fmt.Errorf("%s is not loaded, or is no ONNX Runtime of 1.17 or newer", library)
	}
	return &API{table}, nil
}

// check takes a status and frees it.
func (a *API) check(status C.Status) error {
	if status == nil {
		return nil
	}
	defer C.release(a.table, C.ReleaseStatus, unsafe.Pointer(status))
	return errors.New(C.GoString(C.message(a.table, status)))
}

func (a *API) deviceMemory(device string, id int) (info unsafe.Pointer, err error) {
	name := C.CString(device)
	defer C.free(unsafe.Pointer(name))
	err = a.check(C.deviceMemory(a.table, name, C.int(id), &info))
	return info, err
}

func (a *API) newTensor(memory unsafe.Pointer, t Tensor) (value unsafe.Pointer, err error) {
	err = a.check(C.newTensor(a.table, memory, t.Data, C.size_t(t.Bytes),
		(*C.int64_t)(unsafe.SliceData(t.Shape)), C.size_t(len(t.Shape)), C.int(t.Type), &value))
	return value, err
}

func (a *API) newBinding(session unsafe.Pointer) (binding unsafe.Pointer, err error) {
	err = a.check(C.newBinding(a.table, session, &binding))
	return binding, err
}

func (a *API) bindInput(binding unsafe.Pointer, name string, value unsafe.Pointer) error {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return a.check(C.bind(a.table, C.BindInput, binding, text, value))
}

func (a *API) bindOutput(binding unsafe.Pointer, name string, value unsafe.Pointer) error {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return a.check(C.bind(a.table, C.BindOutput, binding, text, value))
}

func (a *API) run(session, options, binding unsafe.Pointer) error {
	return a.check(C.run(a.table, session, options, binding))
}

func (a *API) configure(options unsafe.Pointer, key, value string) error {
	k, v := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(k))
	defer C.free(unsafe.Pointer(v))
	return a.check(C.configure(a.table, options, k, v))
}

// The functions that release take NULL, and do nothing.

func (a *API) releaseMemory(info unsafe.Pointer)     { C.release(a.table, C.ReleaseMemoryInfo, info) }
func (a *API) releaseValue(value unsafe.Pointer)     { C.release(a.table, C.ReleaseValue, value) }
func (a *API) releaseBinding(binding unsafe.Pointer) { C.release(a.table, C.ReleaseIoBinding, binding) }
