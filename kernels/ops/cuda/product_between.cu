// What stands for the small kernels between the products of a step while products are timed.
#include <algorithm>

#include "ops/cuda/launch.h"
#include "ops/cuda/product.h"

namespace ingot {
namespace {

constexpr unsigned threads = 512;

// change is 0, which the compiler does not know.
__global__ void __launch_bounds__(threads)
    between(const uint4 *y, int64_t y_vectors, uint4 *x, int64_t x_vectors, uint32_t change) {
  let_next_launch();
  wait_for_previous();
  const int64_t first = int64_t{blockIdx.x} * threads + threadIdx.x, step = int64_t{gridDim.x} * threads;
#pragma unroll 4
  for (int64_t i = first; i < max(x_vectors, y_vectors); i += step) {
    const uint32_t seen = i < y_vectors ? y[i].x : 0;
    if (i >= x_vectors) continue;
    uint4 numbers = x[i];
    numbers.x ^= seen & change;
    x[i] = numbers;
  }
}

int64_t bytes_of(int32_t dtype) { return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1; }

}  // namespace

cudaError_t launch_between_products(const Product &p, cudaStream_t stream) {
  constexpr int64_t vector = sizeof(uint4), most_blocks = 1024;
  const int64_t x_vectors = int64_t{p.T} * p.D * bytes_of(p.x_dtype) / vector;
  const int64_t y_vectors = int64_t{p.T} * p.F * bytes_of(p.y_dtype) / vector;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min<int64_t>(p.T, most_blocks)));
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = p.sm >= 90 ? 1 : 0;
  return cudaLaunchKernelEx(&config, between, static_cast<const uint4 *>(p.y_TF), y_vectors,
                            static_cast<uint4 *>(const_cast<void *>(p.x_TD)), x_vectors, uint32_t{0});
}

}  // namespace ingot
