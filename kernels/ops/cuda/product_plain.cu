// Products as plain dot products: every type and size, one order of summation for each output.
#include "ops/cuda/launch.h"
#include "ops/cuda/product_numbers.h"

namespace ingot {
namespace {

constexpr int warps = 8, tokens = 8;  // of a block

// A warp has one row of weight and eight tokens; its lanes take every 32nd number and are added as a tree.
__global__ void __launch_bounds__(warps * 32) plain(const Product p, int tiles) {
  let_next_launch();
  wait_for_previous();
  const int block = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t first = static_cast<int64_t>(block % tiles) * tokens;
  const int64_t f = static_cast<int64_t>(block / tiles) * warps + static_cast<int>(threadIdx.x) / 32;
  if (f >= p.F) return;
  float sums[tokens] = {};
  const int group = p.N ? p.D / p.N : p.D;
  for (int64_t d = lane; d < p.D; d += 32) {
    float weight = number_at(p.weight_FD, p.weight_dtype, f * p.D + d);
    if (p.N) {
      const int64_t n = f * p.N + d / group;
      if (p.zero_FN) weight -= static_cast<float>(p.zero_FN[n]);
      weight *= number_at(p.group_scale_FN, p.group_scale_dtype, n);
    }
#pragma unroll
    for (int i = 0; i < tokens; ++i) {
      if (first + i < p.T) sums[i] += number_at(p.x_TD, p.x_dtype, (first + i) * p.D + d) * weight;
    }
  }
#pragma unroll
  for (int i = 0; i < tokens; ++i) {
    for (int distance = 16; distance; distance /= 2) sums[i] += __shfl_xor_sync(~0u, sums[i], distance);
    if (lane == 0 && first + i < p.T) store_product(p, first + i, f, sums[i]);
  }
}

}  // namespace

cudaError_t launch_plain_product(const Product &p, cudaStream_t on) {
  const int tiles = (p.T + tokens - 1) / tokens;
  const auto blocks = static_cast<unsigned>(tiles) * static_cast<unsigned>((p.F + warps - 1) / warps);
  plain<<<blocks, warps * 32, 0, on>>>(p, tiles);
  return cudaGetLastError();
}

}  // namespace ingot
