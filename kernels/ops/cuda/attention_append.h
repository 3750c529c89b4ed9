// Keys and values of a step into their cells of the paged cache.
#pragma once
#include "ops/cuda/attention.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/vectors.h"

namespace ingot::paged {

constexpr int append_threads = 128;

// Writes keys and values into their cells, eight numbers a thread.
template <class X, class C>
__global__ void __launch_bounds__(append_threads) append(const Step p) {
  let_next_launch();
  wait_for_previous();
  const int columns = p.G * p.K / 8, i = static_cast<int>(blockIdx.x) * append_threads + threadIdx.x;
  if (i >= 2 * columns) return;
  const bool value = i >= columns;
  const int column = value ? i - columns : i, group = column / (p.K / 8), eight = column % (p.K / 8);
  const float by = unit(value ? p.v_scale : p.k_scale);
  for (int64_t t = blockIdx.y; t < p.T; t += gridDim.y) {
    const int64_t cell = p.cells_T[t], page = cell / p.W;
    if (cell < 0 || page >= p.P) continue;
    const auto x = load_vector(static_cast<const X *>(value ? p.v_TY : p.k_TY) + t * p.G * p.K, column);
    const int64_t row = ((page * p.G + group) * p.W + cell % p.W) * p.K;
    C *to = static_cast<C *>(value ? p.cache_v : p.cache_k) + row;
    if constexpr (sizeof(C) == 2) {
      if (by == 1.f) {
        store_vector(to, eight, x);
        continue;
      }
    }
    float numbers[8];
    to_floats(x, numbers);
#pragma unroll
    for (float &number : numbers) number = __fdiv_rn(number, by);
    if constexpr (sizeof(C) == 2) {
      store_vector(to, eight, from_floats<X>(numbers));
    } else {
      uint2 codes;
      codes.x = to_e4m3(numbers[0], numbers[1]) | static_cast<uint32_t>(to_e4m3(numbers[2], numbers[3])) << 16;
      codes.y = to_e4m3(numbers[4], numbers[5]) | static_cast<uint32_t>(to_e4m3(numbers[6], numbers[7])) << 16;
      reinterpret_cast<uint2 *>(to)[eight] = codes;
    }
  }
}

template <class X, class C>
int launch_append(const Step &p, IngotCtx *ctx) {
  const auto T = static_cast<unsigned>(p.T), most_y = 65535u;
  const auto columns = static_cast<unsigned>((2 * p.G * p.K / 8 + append_threads - 1) / append_threads);
  const Grid cells{dim3(columns, std::min(T, most_y)), dim3(append_threads)};
  return launch(ctx, "append", cells, append<X, C>, p);
}

}  // namespace ingot::paged
