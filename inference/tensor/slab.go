package tensor

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// C libraries keep a pointer to a tensor's elements between calls, which cgo forbids for memory of the Go heap. So elements live
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

// number is what the elements of a slab may be; float16 is kept in its bits.
type number interface {
	uint16 | float32 | float64 | int32 | int64
}

// view reads bytes of a slab as elements of T; len(bytes) must be a multiple of T's size.
func view[T number](bytes []byte) []T {
	var element T
	if len(bytes) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(bytes))), len(bytes)/int(unsafe.Sizeof(element)))
}
