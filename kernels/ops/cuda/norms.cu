// RMSNormalization, AddRmsNorm, RmsNormQuantize, AddRmsNormQuantize: rows in registers, or, of any width, read again
// and again.
#include <cstdio>

#include "ops/cuda/codes.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

struct NormRows {
  const void *x, *residual, *weight;
  void *sum, *y;  // y: codes, where there are some
  float *scale_T;
  int64_t rows, width, weights;  // weights: as many as the width, or one for all
  int32_t dtype, codes;          // type of the codes; 0: none
  float epsilon;
  bool constant;  // the weight, which then may be read before other kernels end
};

__device__ float root_mean_square(const NormRows &p, float squares) {
  return __fsqrt_rn(__fdiv_rn(squares, static_cast<float>(p.width)) + p.epsilon);
}

template <class X, int vectors>
__device__ void add_residual(const NormRows &p, int64_t row, int count, Vector<X> (&x)[vectors]) {
  Vector<X> residual[vectors];
  load_row(static_cast<const X *>(p.residual) + row * p.width, count, residual);
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    float a[Vector<X>::size], b[Vector<X>::size];
    to_floats(x[i], a);
    to_floats(residual[i], b);
#pragma unroll
    for (int k = 0; k < Vector<X>::size; ++k) a[k] += b[k];
    x[i] = from_floats<X>(a);
  }
  store_row(static_cast<X *>(p.sum) + row * p.width, count, x);
}

template <class X, int vectors, bool adds, bool quantizes>
__global__ void __launch_bounds__(512) norm_in_registers(const NormRows p) {
  __shared__ float sums[most_warps];
  __shared__ uint32_t largest[most_warps];
  let_next_launch();
  constexpr int size = Vector<X>::size;
  const int count = static_cast<int>(p.width) / size;
  const int64_t row = row_of_thread();
  Vector<X> weight[vectors], x[vectors];
  if (p.constant) load_row(static_cast<const X *>(p.weight), count, weight);
  wait_for_previous();
  if (row >= p.rows) return;
  load_row(static_cast<const X *>(p.x) + row * p.width, count, x);
  if constexpr (adds) add_residual(p, row, count, x);
  if (!p.constant) load_row(static_cast<const X *>(p.weight), count, weight);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    float a[size];
    to_floats(x[i], a);
#pragma unroll
    for (int k = 0; k < size; ++k) squares = fmaf(a[k], a[k], squares);
  }
  const Divisor rms(root_mean_square(p, sum_of_row(squares, sums)));
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    float a[size], b[size];
    to_floats(x[i], a);
    to_floats(weight[i], b);
#pragma unroll
    for (int k = 0; k < size; ++k) a[k] = rms(a[k]);
    to_floats(from_floats<X>(a), a);
#pragma unroll
    for (int k = 0; k < size; ++k) a[k] *= b[k];
    x[i] = from_floats<X>(a);
  }
  if constexpr (quantizes) {
    quantize_row(x, count, p.codes, static_cast<uint8_t *>(p.y) + row * p.width, p.scale_T + row, largest);
  } else {
    store_row(static_cast<X *>(p.y) + row * p.width, count, x);
  }
}

constexpr int most_vectors = 4;  // of a thread, beside as many of the weight
constexpr int loop_threads = 256;

__global__ void __launch_bounds__(loop_threads) norm_in_loops(const NormRows p) {
  __shared__ float sums[most_warps];
  __shared__ uint32_t largest[most_warps];
  let_next_launch();
  wait_for_previous();
  const int64_t first = row_of_thread() * p.width;
  const void *source = p.residual ? p.sum : p.x;
  float squares = 0;
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
    float x = float_at(p.x, p.dtype, first + d);
    if (p.residual) {
      x = rounded_to(p.dtype, x + float_at(p.residual, p.dtype, first + d));
      store_float(p.sum, p.dtype, first + d, x);
    }
    squares = fmaf(x, x, squares);
  }
  const Divisor rms(root_mean_square(p, sum_of_row(squares, sums)));
  const auto normalized = [&](int64_t d) {
    const float x = rounded_to(p.dtype, rms(float_at(source, p.dtype, first + d)));
    return rounded_to(p.dtype, x * float_at(p.weight, p.dtype, p.weights == 1 ? 0 : d));
  };
  if (!p.codes) {
    for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) store_float(p.y, p.dtype, first + d, normalized(d));
    return;
  }
  uint32_t mine = 0;
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) mine = max(mine, magnitude(normalized(d)));
  const float scale = scale_of_codes(largest_of_row(mine, largest), p.codes);
  if (threadIdx.x == 0) p.scale_T[row_of_thread()] = scale;
  const Divisor by(scale);
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
    static_cast<uint8_t *>(p.y)[first + d] = code_of(by(normalized(d)), p.codes);
  }
}

template <bool adds, bool quantizes>
int launch_in_registers(const NormRows &p, const RowPlan &plan, IngotCtx *ctx) {
  int status = 0;
  with_float_type(p.dtype, [&](auto type) {
    with_vectors<most_vectors>(plan.vectors, [&](auto vectors) {
      status = launch(ctx, "norm_in_registers", plan.grid(p.rows),
                      norm_in_registers<decltype(type), vectors.value, adds, quantizes>, p);
    });
  });
  return status;
}

int launch_in_loops(const NormRows &p, IngotCtx *ctx) {
  return launch(ctx, "norm_in_loops", Grid{dim3(static_cast<unsigned>(p.rows)), dim3(loop_threads)}, norm_in_loops, p);
}

// adds, quantizes: which of the four ops; standard: RMSNormalization, whose rows may span several dimensions.
template <bool adds, bool quantizes, bool in_registers>
struct Norm {
  static constexpr bool standard = !adds && !quantizes;
  int64_t axis;
  float epsilon;
  bool constant;

  explicit Norm(const NodeView &node)
      : axis(standard ? node.integer("axis") : 1),
        epsilon(node.number("epsilon")),
        constant(node.input(1 + adds).data != nullptr) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &y = call.out[adds];
    const Axis rows(x, axis);
    NormRows p{};
    p.x = x.data;
    p.residual = adds ? call.in[1].data : nullptr;
    p.weight = call.in[1 + adds].data;
    p.sum = adds ? call.out[0].data : nullptr;
    p.y = y.data;
    p.scale_T = quantizes ? static_cast<float *>(call.out[1 + adds].data) : nullptr;
    p.rows = rows.outer;
    p.width = rows.size * rows.inner;
    p.weights = count_of(call.in[1 + adds]);
    p.dtype = x.dtype;
    p.codes = quantizes ? y.dtype : 0;
    p.epsilon = epsilon;
    p.constant = constant;
    if (p.rows == 0 || (p.width == 0 && !quantizes)) return 0;
    const RowPlan plan(p.width, p.dtype);
    if (in_registers && plan.vectors && plan.vectors <= most_vectors && p.weights == p.width) {
      return launch_in_registers<adds, quantizes>(p, plan, ctx);
    }
    return launch_in_loops(p, ctx);
  }
};

template <bool adds, bool quantizes>
constexpr IngotKernel kernels[] = {kernel_of<Norm<adds, quantizes, true>>("registers"),
                                   kernel_of<Norm<adds, quantizes, false>>("loops")};

constexpr IngotOpKernels sets[] = {{"", "RMSNormalization", kernels<false, false>, 2},
                                   {"ingot", "AddRmsNorm", kernels<true, false>, 2},
                                   {"ingot", "RmsNormQuantize", kernels<false, true>, 2},
                                   {"ingot", "AddRmsNormQuantize", kernels<true, true>, 2}};

}  // namespace

std::span<const IngotOpKernels> norm_kernels() { return sets; }

}  // namespace ingot
