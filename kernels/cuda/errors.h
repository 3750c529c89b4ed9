// What the CUDA runtime reports, as sentences.
#pragma once
#include <cuda_runtime_api.h>

#include "cuda/device.h"

namespace ingot::cuda {

// 0 where `error` is cudaSuccess; else nonzero, after ctx->host->error with a sentence: what the runtime was to do
// ("copying 64 bytes to the GPU"), what it said, and where a kernel that ran before is to blame, how to find it.
[[nodiscard]] int report(const Device &device, cudaError_t error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// "1.5 GiB", "640 bytes"
struct Size {
  char text[32];
  explicit Size(size_t bytes);
};

}  // namespace ingot::cuda
