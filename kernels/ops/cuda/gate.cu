// Gate, GateQuantize.
#include <algorithm>
#include <cstring>

#include "ops/cuda/activation.h"
#include "ops/cuda/codes.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

struct GateRows {
  const void *gate_up;  // a row: both halves
  void *y;              // codes, where there are some
  float *scale_T;
  int64_t rows, width;   // of a half
  int32_t dtype, codes;  // type of the codes; 0: none
  Activation activation;
};

// act(gate) * up, rounded; the activation is chosen once for a vector.
template <class X>
__device__ Vector<X> gated(const Vector<X> &gate, const Vector<X> &up, Activation kind) {
  constexpr int size = Vector<X>::size;
  float a[size], b[size];
  to_floats(gate, a);
  to_floats(up, b);
  const auto apply = [&](auto function) {
#pragma unroll
    for (int i = 0; i < size; ++i) a[i] = function(a[i]) * b[i];
  };
  switch (kind) {
    case Activation::silu:
      apply([](float x) { return activated(Activation::silu, x); });
      break;
    case Activation::gelu:
      apply([](float x) { return activated(Activation::gelu, x); });
      break;
    case Activation::gelu_tanh:
      apply([](float x) { return activated(Activation::gelu_tanh, x); });
      break;
    default:
      apply([](float x) { return activated(Activation::relu, x); });
  }
  return from_floats<X>(a);
}

__device__ float gated_at(const GateRows &p, int64_t row, int64_t d) {
  const int64_t first = 2 * row * p.width + d;
  const float gate = float_at(p.gate_up, p.dtype, first), up = float_at(p.gate_up, p.dtype, first + p.width);
  return rounded_to(p.dtype, activated(p.activation, gate) * up);
}

template <class X, int vectors>
__global__ void __launch_bounds__(512) gate_in_registers(const GateRows p) {
  __shared__ uint32_t largest[most_warps];
  let_next_launch();
  wait_for_previous();
  const int count = static_cast<int>(p.width) / Vector<X>::size;
  const int64_t row = row_of_thread();
  if (row >= p.rows) return;
  const X *gate = static_cast<const X *>(p.gate_up) + 2 * row * p.width;
  Vector<X> x[vectors], up[vectors];
  load_row(gate, count, x);
  load_row(gate + p.width, count, up);
#pragma unroll
  for (int i = 0; i < vectors; ++i) x[i] = gated(x[i], up[i], p.activation);
  quantize_row(x, count, p.codes, static_cast<uint8_t *>(p.y) + row * p.width, p.scale_T + row, largest);
}

constexpr int threads = 128;

// A thread has one vector of a row.
template <class X>
__global__ void __launch_bounds__(threads) gate_vectors(const GateRows p) {
  let_next_launch();
  wait_for_previous();
  const auto count = static_cast<unsigned>(p.width / Vector<X>::size);
  const unsigned i = blockIdx.x * threads + threadIdx.x;
  if (i >= count) return;
  for (int64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
    const X *gate = static_cast<const X *>(p.gate_up) + 2 * row * p.width;
    const Vector<X> y = gated(load_vector(gate, i), load_vector(gate + p.width, i), p.activation);
    store_vector(static_cast<X *>(p.y) + row * p.width, i, y);
  }
}

constexpr int loop_threads = 256;

__global__ void __launch_bounds__(loop_threads) gate_in_loops(const GateRows p) {
  __shared__ uint32_t largest[most_warps];
  let_next_launch();
  wait_for_previous();
  const int64_t row = row_of_thread();
  if (!p.codes) {
    for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
      store_float(p.y, p.dtype, row * p.width + d, gated_at(p, row, d));
    }
    return;
  }
  uint32_t mine = 0;
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) mine = max(mine, magnitude(gated_at(p, row, d)));
  const float scale = scale_of_codes(largest_of_row(mine, largest), p.codes);
  if (threadIdx.x == 0) p.scale_T[row] = scale;
  const Divisor by(scale);
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
    static_cast<uint8_t *>(p.y)[row * p.width + d] = code_of(by(gated_at(p, row, d)), p.codes);
  }
}

int launch_in_registers(const GateRows &p, const RowPlan &plan, IngotCtx *ctx) {
  int status = 0;
  with_float_type(p.dtype, [&](auto type) {
    with_vectors(plan.vectors, [&](auto vectors) {
      status = launch(ctx, "gate_in_registers", plan.grid(p.rows), gate_in_registers<decltype(type), vectors.value>, p);
    });
  });
  return status;
}

int launch_vectors(const GateRows &p, IngotCtx *ctx) {
  int status = 0;
  with_float_type(p.dtype, [&](auto type) {
    using X = decltype(type);
    const int64_t blocks = (p.width / Vector<X>::size + threads - 1) / threads;
    const Grid grid{dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(std::min<int64_t>(p.rows, 65535))),
                    dim3(threads)};
    status = launch(ctx, "gate_vectors", grid, gate_vectors<X>, p);
  });
  return status;
}

Activation activation_of(const char *name) {
  constexpr const char *names[] = {"silu", "gelu", "gelu_tanh", "relu"};  // the row refuses others
  int32_t i = 0;
  while (i < 3 && std::strcmp(name, names[i]) != 0) ++i;
  return static_cast<Activation>(i);
}

template <bool quantizes, bool vectorized>
struct Gate {
  Activation activation;

  explicit Gate(const NodeView &node) : activation(activation_of(node.text("activation"))) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &gate_up = call.in[0], &y = call.out[0];
    GateRows p{};
    p.gate_up = gate_up.data;
    p.y = y.data;
    p.scale_T = quantizes ? static_cast<float *>(call.out[1].data) : nullptr;
    p.rows = gate_up.shape[0];
    p.width = gate_up.shape[1] / 2;
    p.dtype = gate_up.dtype;
    p.codes = quantizes ? y.dtype : 0;
    p.activation = activation;
    const RowPlan plan(p.width, p.dtype);
    if (vectorized && quantizes && plan.vectors) return launch_in_registers(p, plan, ctx);
    if (vectorized && !quantizes && p.width * bytes_of_type(p.dtype) % 16 == 0) return launch_vectors(p, ctx);
    return launch(ctx, "gate_in_loops", Grid{dim3(static_cast<unsigned>(p.rows)), dim3(loop_threads)}, gate_in_loops,
                  p);
  }
};

constexpr IngotKernel gate[] = {kernel_of<Gate<false, true>>("vectors"), kernel_of<Gate<false, false>>("loops")};
constexpr IngotKernel gate_quantize[] = {kernel_of<Gate<true, true>>("registers"),
                                         kernel_of<Gate<true, false>>("loops")};

constexpr IngotOpKernels sets[] = {{"ingot", "Gate", gate, 2}, {"ingot", "GateQuantize", gate_quantize, 2}};

}  // namespace

std::span<const IngotOpKernels> gate_kernels() { return sets; }

}  // namespace ingot
