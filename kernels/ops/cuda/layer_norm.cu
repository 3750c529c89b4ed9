// LayerNormalization: rows in registers, or, of any width, read again and again.
#include <cstdio>

#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/row.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

struct LayerRows {
  const void *x, *scale, *bias;  // bias: may be NULL
  void *y;
  float *mean, *inverse;                // may be NULL
  int64_t rows, width, scales, biases;  // as many as the width, or one for all
  int32_t dtype;
  float epsilon;
};

struct Moments {
  float mean, deviation;
};

__device__ float of_width(const LayerRows &p, float sum) { return __fdiv_rn(sum, static_cast<float>(p.width)); }

__device__ void store_moments(const LayerRows &p, int64_t row, const Moments &moments) {
  if (threadIdx.x) return;
  if (p.mean) p.mean[row] = moments.mean;
  if (p.inverse) p.inverse[row] = __fdiv_rn(1.f, moments.deviation);
}

template <class X, int vectors>
__global__ void __launch_bounds__(512) layer_norm_in_registers(const LayerRows p) {
  __shared__ float sums[2][most_warps];
  let_next_launch();
  wait_for_previous();
  constexpr int size = Vector<X>::size;
  const int count = static_cast<int>(p.width) / size;
  const int64_t row = row_of_thread();
  if (row >= p.rows) return;
  Vector<X> x[vectors], scale[vectors], bias[vectors];
  load_row(static_cast<const X *>(p.x) + row * p.width, count, x);
  load_row(static_cast<const X *>(p.scale), count, scale);
  if (p.bias) load_row(static_cast<const X *>(p.bias), count, bias);
  float sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    float a[size];
    to_floats(x[i], a);
#pragma unroll
    for (int k = 0; k < size; ++k) sum += a[k];
  }
  Moments moments{};
  moments.mean = of_width(p, sum_of_row(sum, sums[0]));
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    float a[size];
    to_floats(x[i], a);
    if (place_of_vector(i) >= count) continue;
#pragma unroll
    for (int k = 0; k < size; ++k) squares = fmaf(a[k] - moments.mean, a[k] - moments.mean, squares);
  }
  moments.deviation = __fsqrt_rn(of_width(p, sum_of_row(squares, sums[1])) + p.epsilon);
  store_moments(p, row, moments);
  const Divisor by(moments.deviation);
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    float a[size], b[size];
    to_floats(x[i], a);
    to_floats(scale[i], b);
#pragma unroll
    for (int k = 0; k < size; ++k) a[k] = __fmul_rn(rounded_to<X>(by(a[k] - moments.mean)), b[k]);
    if (p.bias) {
      to_floats(bias[i], b);
#pragma unroll
      for (int k = 0; k < size; ++k) a[k] = __fadd_rn(rounded_to<X>(a[k]), b[k]);
    }
    x[i] = from_floats<X>(a);
  }
  store_row(static_cast<X *>(p.y) + row * p.width, count, x);
}

constexpr int most_vectors = 4;  // of a thread, beside as many of scale and bias
constexpr int loop_threads = 256;

__global__ void __launch_bounds__(loop_threads) layer_norm_in_loops(const LayerRows p) {
  __shared__ float sums[2][most_warps];
  let_next_launch();
  wait_for_previous();
  const int64_t row = row_of_thread(), first = row * p.width;
  float sum = 0, squares = 0;
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) sum += float_at(p.x, p.dtype, first + d);
  Moments moments{};
  moments.mean = of_width(p, sum_of_row(sum, sums[0]));
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
    const float apart = float_at(p.x, p.dtype, first + d) - moments.mean;
    squares = fmaf(apart, apart, squares);
  }
  moments.deviation = __fsqrt_rn(of_width(p, sum_of_row(squares, sums[1])) + p.epsilon);
  store_moments(p, row, moments);
  const Divisor by(moments.deviation);
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
    const float normal = rounded_to(p.dtype, by(float_at(p.x, p.dtype, first + d) - moments.mean));
    float y = __fmul_rn(normal, float_at(p.scale, p.dtype, p.scales == 1 ? 0 : d));
    if (p.bias) y = __fadd_rn(rounded_to(p.dtype, y), float_at(p.bias, p.dtype, p.biases == 1 ? 0 : d));
    store_float(p.y, p.dtype, first + d, y);
  }
}

template <bool in_registers>
struct LayerNorm {
  int64_t axis;
  float epsilon;

  explicit LayerNorm(const NodeView &node) : axis(node.integer("axis")), epsilon(node.number("epsilon")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const Axis rows(x, axis);
    LayerRows p{};
    p.x = x.data;
    p.scale = call.in[1].data;
    p.bias = is_there(call, 2) ? call.in[2].data : nullptr;
    p.y = call.out[0].data;
    p.mean = is_wanted(call, 1) ? static_cast<float *>(call.out[1].data) : nullptr;
    p.inverse = is_wanted(call, 2) ? static_cast<float *>(call.out[2].data) : nullptr;
    p.rows = rows.outer;
    p.width = rows.size * rows.inner;
    p.scales = count_of(call.in[1]);
    p.biases = p.bias ? count_of(call.in[2]) : p.width;
    p.dtype = x.dtype;
    p.epsilon = epsilon;
    const RowPlan plan(p.width, p.dtype);
    const bool whole = p.scales == p.width && p.biases == p.width;
    if (!in_registers || !whole || !plan.vectors || plan.vectors > most_vectors) {
      return launch(ctx, "layer_norm_in_loops", Grid{dim3(static_cast<unsigned>(p.rows)), dim3(loop_threads)},
                    layer_norm_in_loops, p);
    }
    int status = 0;
    with_float_type(p.dtype, [&](auto type) {
      with_vectors<most_vectors>(plan.vectors, [&](auto vectors) {
        status = launch(ctx, "layer_norm_in_registers", plan.grid(p.rows),
                        layer_norm_in_registers<decltype(type), vectors.value>, p);
      });
    });
    return status;
  }
};

constexpr IngotKernel kernels[] = {kernel_of<LayerNorm<true>>("registers"), kernel_of<LayerNorm<false>>("loops")};
constexpr IngotOpKernels sets[] = {{"", "LayerNormalization", kernels, 2}};

}  // namespace

std::span<const IngotOpKernels> layer_norm_kernels() { return sets; }

}  // namespace ingot
