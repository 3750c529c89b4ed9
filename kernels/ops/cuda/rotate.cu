// Rotate: eight (f32: four) pairs of a head a thread, or one. The products and their sum are rounded one by one, as the
// definition does.
#include <algorithm>

#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

struct Rotation {
  const void *x;
  void *y;  // may be x
  const float *cos_LR, *sin_LR;
  const int32_t *positions_T;
  int64_t T, D, L;
  int32_t heads, head, R;  // elements and pairs of a head
  int32_t dtype;
  bool interleaved;
};

// Where the cosines of a token's position begin; a position outside of the table, which the host refuses, reads the
// nearest row.
__device__ int64_t table_row(const Rotation &p, int64_t t) {
  return max(int64_t{0}, min(int64_t{p.positions_T[t]}, p.L - 1)) * p.R;
}

__device__ void turn(float &a, float &b, float cos, float sin) {
  const float real = __fsub_rn(__fmul_rn(cos, a), __fmul_rn(sin, b));
  b = __fadd_rn(__fmul_rn(sin, a), __fmul_rn(cos, b));
  a = real;
}

constexpr int threads = 128;

// A thread has one vector of cosines; x's vectors hold the pairs one by one, or a's and b's apart.
template <class X>
__global__ void __launch_bounds__(threads) rotate_vectors(const Rotation p) {
  let_next_launch();
  wait_for_previous();
  constexpr int size = Vector<X>::size;
  const unsigned columns = static_cast<unsigned>(p.R / size), i = blockIdx.x * threads + threadIdx.x;
  if (i >= columns * p.heads) return;
  const unsigned h = i / columns, r = i % columns;
  for (int64_t t = blockIdx.y; t < p.T; t += gridDim.y) {
    const int64_t first = t * p.D + static_cast<int64_t>(h) * p.head, row = table_row(p, t) + r * size;
    const int64_t at = first + r * size * (p.interleaved ? 2 : 1), apart = p.interleaved ? size : p.R;
    const X *from = static_cast<const X *>(p.x) + at;
    float cos[size], sin[size], a[size], b[size];
#pragma unroll
    for (int k = 0; k < size; k += 4) {
      *reinterpret_cast<float4 *>(cos + k) = *reinterpret_cast<const float4 *>(p.cos_LR + row + k);
      *reinterpret_cast<float4 *>(sin + k) = *reinterpret_cast<const float4 *>(p.sin_LR + row + k);
    }
    to_floats(load_vector(from, 0), a);
    to_floats(load_vector(from + apart, 0), b);
    if (p.interleaved) {
#pragma unroll
      for (int k = 0; k < size / 2; ++k) {
        turn(a[2 * k], a[2 * k + 1], cos[k], sin[k]);
        turn(b[2 * k], b[2 * k + 1], cos[size / 2 + k], sin[size / 2 + k]);
      }
    } else {
#pragma unroll
      for (int k = 0; k < size; ++k) turn(a[k], b[k], cos[k], sin[k]);
    }
    X *to = static_cast<X *>(p.y) + at;
    store_vector(to, 0, from_floats<X>(a));
    store_vector(to + apart, 0, from_floats<X>(b));
  }
}

// A thread has one pair, or one element of the rest of a head.
__global__ void __launch_bounds__(threads) rotate_pairs(const Rotation p) {
  let_next_launch();
  wait_for_previous();
  const unsigned columns = static_cast<unsigned>(p.head - p.R), i = blockIdx.x * threads + threadIdx.x;
  if (i >= columns * p.heads) return;
  const int64_t h = i / columns, r = i % columns;
  for (int64_t t = blockIdx.y; t < p.T; t += gridDim.y) {
    const int64_t first = t * p.D + h * p.head;
    if (r >= p.R) {
      if (p.x != p.y) store_float(p.y, p.dtype, first + p.R + r, float_at(p.x, p.dtype, first + p.R + r));
      continue;
    }
    const int64_t row = table_row(p, t) + r, at = first + (p.interleaved ? 2 * r : r);
    const int64_t apart = p.interleaved ? 1 : p.R;
    float a = float_at(p.x, p.dtype, at), b = float_at(p.x, p.dtype, at + apart);
    turn(a, b, p.cos_LR[row], p.sin_LR[row]);
    store_float(p.y, p.dtype, at, a);
    store_float(p.y, p.dtype, at + apart, b);
  }
}

// What a token's threads share, and as many tokens as a grid may have.
Grid grid_of(int64_t units, int64_t T) {
  return {
      dim3(static_cast<unsigned>((units + threads - 1) / threads), static_cast<unsigned>(std::min<int64_t>(T, 65535))),
      dim3(threads)};
}

template <bool vectorized>
struct Rotate {
  int64_t heads;
  bool interleaved;

  explicit Rotate(const NodeView &node) : heads(node.integer("heads")), interleaved(node.integer("interleaved") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &cos = call.in[1];
    Rotation p{};
    p.x = x.data;
    p.y = call.out[0].data;
    p.cos_LR = static_cast<const float *>(cos.data);
    p.sin_LR = static_cast<const float *>(call.in[2].data);
    p.positions_T = static_cast<const int32_t *>(call.in[3].data);
    p.T = x.shape[0];
    p.D = x.shape[1];
    p.L = cos.shape[0];
    p.heads = static_cast<int32_t>(heads);
    p.head = static_cast<int32_t>(p.D / heads);
    p.R = static_cast<int32_t>(cos.shape[1]);
    p.dtype = x.dtype;
    p.interleaved = interleaved;
    const int64_t size = 16 / bytes_of_type(p.dtype);
    const bool whole = 2 * p.R == p.head || p.x == p.y;  // no rest that is to be copied
    if (!vectorized || p.R == 0 || p.R % size || p.head % size || !whole) {
      return launch(ctx, "rotate_pairs", grid_of(int64_t{p.heads} * (p.head - p.R), p.T), rotate_pairs, p);
    }
    int status = 0;
    with_float_type(p.dtype, [&](auto type) {
      status = launch(ctx, "rotate_vectors", grid_of(p.heads * (p.R / size), p.T), rotate_vectors<decltype(type)>, p);
    });
    return status;
  }
};

constexpr IngotKernel kernels[] = {kernel_of<Rotate<true>>("vectors"), kernel_of<Rotate<false>>("pairs")};

constexpr IngotOpKernels sets[] = {{"ingot", "Rotate", kernels, 2}};

}  // namespace

std::span<const IngotOpKernels> rotate_kernels() { return sets; }

}  // namespace ingot
