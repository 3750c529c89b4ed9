// Rows in registers: the threads of a row hold vectors of 16 bytes of it, read once. A row of up to 128 vectors has a
// warp, four of them a block; a longer one has a block. How a row is shared depends on its width alone, so that its
// sums have one order whatever stands beside it.
#pragma once
#include <type_traits>

#include "ops/cuda/launch.h"
#include "ops/cuda/vectors.h"

namespace ingot {

struct RowPlan {
  int vectors = 0;          // of a thread: 1, 2, 4 or 8; 0: rows of this width do not go into registers
  unsigned threads = 0;     // of a row
  unsigned block_rows = 1;  // rows of a block

  RowPlan(int64_t width, int32_t dtype) {
    constexpr int64_t most_threads = 512, warp = 32;
    const int64_t bytes = width * (dtype == INGOT_F32 ? 4 : 2), count = bytes / 16;
    if (bytes % 16 || count < 1 || count > 8 * most_threads) return;
    const bool narrow = count <= 4 * warp;
    for (vectors = 1; count > vectors * (narrow ? warp : most_threads);) vectors *= 2;
    threads = static_cast<unsigned>(((count + vectors - 1) / vectors + warp - 1) / warp * warp);
    if (narrow) block_rows = 4;
  }

  Grid grid(int64_t rows) const {
    const int64_t blocks = (rows + block_rows - 1) / block_rows;
    return {dim3(static_cast<unsigned>(blocks)), dim3(threads, block_rows)};
  }
};

// Calls with(std::integral_constant<int, vectors>), up to `most`.
template <int most = 8, class With>
void with_vectors(int vectors, const With &with) {
  if constexpr (most > 1) {
    if (vectors < most) return with_vectors<most / 2>(vectors, with);
  }
  with(std::integral_constant<int, most>());
}

constexpr int most_warps = 16;  // of a row

__device__ inline int64_t row_of_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; }
__device__ inline int place_of_vector(int i) { return static_cast<int>(threadIdx.x + i * blockDim.x); }

// This thread's vectors of a row that begins at `from`; zeros beyond its `count` vectors.
template <class X, int vectors>
__device__ inline void load_row(const X *from, int count, Vector<X> (&to)[vectors]) {
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    to[i] = Vector<X>{};
    if (place_of_vector(i) < count) to[i] = load_vector(from, place_of_vector(i));
  }
}

template <class X, int vectors>
__device__ inline void store_row(X *to, int count, const Vector<X> (&from)[vectors]) {
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    if (place_of_vector(i) < count) store_vector(to, place_of_vector(i), from[i]);
  }
}

// The sum over a row's threads, in each of them; parts: shared memory that no other such call of the kernel uses.
__device__ inline float sum_of_row(float mine, float (&parts)[most_warps]) {
#pragma unroll
  for (int distance = 16; distance; distance /= 2) mine += __shfl_xor_sync(~0u, mine, distance);
  if (blockDim.x == 32) return mine;
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = mine;
  __syncthreads();
  float sum = parts[0];
#pragma unroll
  for (int i = 1; i < most_warps; ++i) {
    if (i < static_cast<int>(blockDim.x / 32)) sum += parts[i];
  }
  return sum;
}

// The largest over a row's threads of magnitudes, which as bits order like integers, NaN above all.
__device__ inline float largest_of_row(uint32_t mine, uint32_t (&parts)[most_warps]) {
  mine = __reduce_max_sync(~0u, mine);
  if (blockDim.x > 32) {
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = mine;
    __syncthreads();
    const unsigned lane = threadIdx.x % 32;
    mine = __reduce_max_sync(~0u, lane < blockDim.x / 32 ? parts[lane] : 0u);
  }
  return __uint_as_float(mine);
}

__device__ inline uint32_t magnitude(float x) { return __float_as_uint(x) & 0x7fffffffu; }

template <class X>
__device__ inline uint32_t largest_of_vector(const Vector<X> &vector, uint32_t largest) {
  float x[Vector<X>::size];
  to_floats(vector, x);
#pragma unroll
  for (const float number : x) largest = max(largest, magnitude(number));
  return largest;
}

// Quotients by one number, rounded as IEEE 754 does: by its reciprocal and one correction (Markstein, IBM Journal of
// Research and Development 34, 1990), where nothing of it can overflow, else by division.
class Divisor {
 public:
  __device__ explicit Divisor(float by) : by_(by), near_(by > 0x1p-60f && by < 0x1p60f) { inverse_ = __frcp_rn(by); }

  __device__ float operator()(float x) const {
    if (!near_) return __fdiv_rn(x, by_);
    const float quotient = x * inverse_, rest = fmaf(-quotient, by_, x);
    return copysignf(fmaf(rest, inverse_, quotient), x);  // a zero keeps its sign
  }

 private:
  float by_;
  bool near_;
  float inverse_;
};

}  // namespace ingot
