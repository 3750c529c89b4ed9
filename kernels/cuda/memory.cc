// Memory of the GPU and pinned memory of the host, and copies between them.
#include "cuda/device.h"
#include "cuda/errors.h"

namespace ingot::cuda {

int allocate(void *self, size_t bytes, void **memory) {
  Device &device = entered(self);
  *memory = nullptr;
  const cudaError_t error = cudaMalloc(memory, bytes ? bytes : 1);
  if (error != cudaErrorMemoryAllocation) return report(device, error, "allocating %s", Size(bytes).text);
  cudaGetLastError();
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  return device.ctx->host->error(device.ctx,
                                 "GPU %d: %s of its memory are wanted, %s of %s are free; give the cache less memory, "
                                 "or end what else runs on this GPU (nvidia-smi lists it)",
                                 device.ordinal, Size(bytes).text, Size(free).text, Size(total).text);
}

void release(void *self, void *memory) {
  if (!memory) return;
  entered(self);
  if (cudaFree(memory) != cudaSuccess) cudaGetLastError();
}

int allocate_pinned(void *self, size_t bytes, void **memory) {
  Device &device = entered(self);
  *memory = nullptr;
  const cudaError_t error = cudaHostAlloc(memory, bytes ? bytes : 1, cudaHostAllocPortable | cudaHostAllocMapped);
  return report(device, error, "pinning %s of the host's memory", Size(bytes).text);
}

void release_pinned(void *self, void *memory) {
  if (!memory) return;
  entered(self);
  if (cudaFreeHost(memory) != cudaSuccess) cudaGetLastError();
}

int upload(void *self, void *to, const void *from, size_t bytes, void *stream) {
  Device &device = entered(self);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(device, stream));
  return report(device, error, "copying %s to the GPU", Size(bytes).text);
}

int download(void *self, void *to, const void *from, size_t bytes, void *stream) {
  Device &device = entered(self);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(device, stream));
  return report(device, error, "copying %s from the GPU", Size(bytes).text);
}

int copy(void *self, void *to, const void *from, size_t bytes, void *stream) {
  Device &device = entered(self);
  const cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(device, stream));
  return report(device, error, "copying %s on the GPU", Size(bytes).text);
}

int fill(void *self, void *to, int32_t byte, size_t bytes, void *stream) {
  Device &device = entered(self);
  const cudaError_t error = cudaMemsetAsync(to, byte, bytes, stream_of(device, stream));
  return report(device, error, "filling %s on the GPU", Size(bytes).text);
}

}  // namespace ingot::cuda
