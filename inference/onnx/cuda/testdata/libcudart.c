// A library with the functions of CUDA's runtime that are used, for tests of how they are called. Its device is the processor: it
// has number 3, and room for one piece of pinned memory.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int device = -1, pinned;

int cudaSetDevice(int id) {
	if (id != 3) {
		return 101;
	}
	device = id;
	return 0;
}
int cudaMalloc(void **memory, size_t size) { return device < 0 || (*memory = malloc(size)) == NULL ? 2 : 0; }
int cudaFree(void *memory) {
	free(memory);
	return 0;
}
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
	if (stream != NULL || (kind != 1 && kind != 2)) {
		return 21;
	}
	memcpy(to, from, size);
	return 0;
}
int cudaStreamSynchronize(void *stream) {
	return stream == NULL ? 0 : 400;
}
int cudaHostRegister(void *memory, size_t size, unsigned flags) {
	if (pinned || memory == NULL || size == 0 || flags != 0) {
		return 712;
	}
	pinned = 1;
	return 0;
}
int cudaHostUnregister(void *memory) {
	if (!pinned || memory == NULL) {
		return 713;
	}
	pinned = 0;
	return 0;
}
const char *cudaGetErrorString(int error) {
	return error == 101 ? "invalid device ordinal" : error == 712 ? "already mapped" : error == 713 ? "not mapped" : "another error";
}
