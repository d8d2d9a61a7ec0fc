package onnx

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tensors keep a pointer to their elements between calls into C, which cgo forbids for memory of the Go heap. So elements live
// in a slab: zeroed pages from the kernel that Go's collector knows nothing of.

// alignment of every tensor in a slab: a cache line, and the widest vector register.
const alignment = 64

func newSlab(size int) ([]byte, error) {
	slab, err := unix.Mmap(-1, 0, max(size, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for tensors: %w", size, err)
	}
	return slab, nil
}

func freeSlab(slab []byte) error { return unix.Munmap(slab) }

// view reads bytes of a slab as elements of T; len(bytes) must be a multiple of T's size.
func view[T float32 | float64 | int64](bytes []byte) []T {
	var element T
	if len(bytes) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(bytes))), len(bytes)/int(unsafe.Sizeof(element)))
}
