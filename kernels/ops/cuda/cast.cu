// Cast, CastLike: eight numbers a thread between f32, f16 and bf16, two between others.
#include <algorithm>

#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

constexpr int threads = 256;

struct Casting {
  const void *x;
  void *y;
  int64_t count;
  int32_t from, to;
  bool saturate;
};

template <class From, class To>
__global__ void __launch_bounds__(threads) cast_vectors(const Casting p) {
  let_next_launch();
  wait_for_previous();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x) * 8;
  if (first >= p.count) return;
  const From *from = static_cast<const From *>(p.x) + first;
  To *to = static_cast<To *>(p.y) + first;
  if (first + 8 > p.count) {
    for (int64_t i = 0; i < p.count - first; ++i) to[i] = from_float<To>(to_float(from[i]));
    return;
  }
  constexpr int read = Vector<From>::size, written = Vector<To>::size;
  float numbers[8];
#pragma unroll
  for (int i = 0; i < 8; i += read) {
    to_floats(load_vector(from, i / read), reinterpret_cast<float(&)[read]>(numbers[i]));
  }
#pragma unroll
  for (int i = 0; i < 8; i += written) {
    store_vector(to, i / written, from_floats<To>(reinterpret_cast<float(&)[written]>(numbers[i])));
  }
}

// Toward zero; what is out of the type's range becomes the nearest end of it, and NaN 0; bool: whether it is not 0.
__device__ int64_t integer_of(float x, int32_t dtype) {
  if (dtype == INGOT_BOOL) return x != 0;
  if (x != x) return 0;
  switch (dtype) {
    case INGOT_I64:
      return __float2ll_rz(x);  // saturates
    case INGOT_I32:
      return __float2int_rz(x);
    case INGOT_I8:
      return static_cast<int64_t>(fminf(fmaxf(x, -128.f), 127.f));
    case INGOT_U8:
      return static_cast<int64_t>(fminf(fmaxf(x, 0.f), 255.f));
    case INGOT_U4:
      return static_cast<int64_t>(fminf(fmaxf(x, 0.f), 15.f));
    default:
      return static_cast<int64_t>(fminf(fmaxf(x, -8.f), 7.f));
  }
}

__device__ int64_t whole_number(const Casting &p, int64_t i) {
  if (is_float_type(p.from)) return integer_of(float_at(p.x, p.from, i), p.to);
  return integer_at(p.x, p.from, i);
}

// A thread has two elements, which share a byte where they have 4 bits.
__global__ void __launch_bounds__(threads) cast_pairs(const Casting p) {
  let_next_launch();
  wait_for_previous();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x) * 2;
  if (first >= p.count) return;
  const int64_t end = min(first + 2, p.count);
  if (is_four_bits(p.to)) {
    int64_t byte = 0;
    for (int64_t i = first; i < end; ++i) byte |= (whole_number(p, i) & 15) << (4 * (i - first));
    static_cast<uint8_t *>(p.y)[first / 2] = static_cast<uint8_t>(byte);
    return;
  }
  for (int64_t i = first; i < end; ++i) {
    if (is_float_type(p.to)) store_float(p.y, p.to, i, float_at(p.x, p.from, i), p.saturate);
    if (!is_float_type(p.to)) store_integer(p.y, p.to, i, whole_number(p, i));
  }
}

Grid grid_of(int64_t count, int64_t together) {
  return {dim3(static_cast<unsigned>((count + threads * together - 1) / (threads * together))), dim3(threads)};
}

template <bool vectorized>
struct Cast {
  bool saturate;

  explicit Cast(const NodeView &node) : saturate(node.integer("saturate") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &y = call.out[0];
    const Casting p{x.data, y.data, count_of(x), x.dtype, y.dtype, saturate};
    int status = -1;
    if (vectorized) {
      with_float_type(p.from, [&](auto from) {
        with_float_type(p.to, [&](auto to) {
          status = launch(ctx, "cast_vectors", grid_of(p.count, 8), cast_vectors<decltype(from), decltype(to)>, p);
        });
      });
    }
    if (status >= 0) return status;
    return launch(ctx, "cast_pairs", grid_of(p.count, 2), cast_pairs, p);
  }
};

constexpr IngotKernel kernels[] = {kernel_of<Cast<true>>("vectors"), kernel_of<Cast<false>>("pairs")};
constexpr IngotOpKernels sets[] = {{"", "Cast", kernels, 2}, {"", "CastLike", kernels, 2}};

}  // namespace

std::span<const IngotOpKernels> cast_kernels() { return sets; }

}  // namespace ingot
