// QuantizeToken, TokenLargest: rows in registers, or, of any width, read twice.
#include "ops/cuda/codes.h"
#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

struct QuantizeRows {
  const void *x;
  const float *largest_T;  // NULL: to be found
  void *codes;             // NULL: the largest magnitudes alone are wanted
  float *scale_T;          // or the largest magnitudes
  int64_t rows, width;
  int32_t dtype, codes_dtype;
};

template <class X, int vectors>
__global__ void __launch_bounds__(512) quantize_in_registers(const QuantizeRows p) {
  __shared__ uint32_t largest[most_warps];
  let_next_launch();
  wait_for_previous();
  const int count = static_cast<int>(p.width) / Vector<X>::size;
  const int64_t row = row_of_thread();
  if (row >= p.rows) return;
  Vector<X> x[vectors];
  load_row(static_cast<const X *>(p.x) + row * p.width, count, x);
  if (p.codes) {
    const float *given = p.largest_T ? p.largest_T + row : nullptr;
    auto *codes = static_cast<uint8_t *>(p.codes) + row * p.width;
    return quantize_row(x, count, p.codes_dtype, codes, p.scale_T + row, largest, given);
  }
  uint32_t mine = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i) mine = largest_of_vector(x[i], mine);
  const float size = largest_of_row(mine, largest);
  if (threadIdx.x == 0) p.scale_T[row] = size;
}

constexpr int loop_threads = 256;

__global__ void __launch_bounds__(loop_threads) quantize_in_loops(const QuantizeRows p) {
  __shared__ uint32_t largest[most_warps];
  let_next_launch();
  wait_for_previous();
  const int64_t row = row_of_thread(), first = row * p.width;
  float size = 0;
  if (p.largest_T) {
    size = p.largest_T[row];
  } else {
    uint32_t mine = 0;
    for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
      mine = max(mine, magnitude(float_at(p.x, p.dtype, first + d)));
    }
    size = largest_of_row(mine, largest);
  }
  const float scale = p.codes ? scale_of_codes(size, p.codes_dtype) : size;
  if (threadIdx.x == 0) p.scale_T[row] = scale;
  if (!p.codes) return;
  const Divisor by(scale);
  for (int64_t d = threadIdx.x; d < p.width; d += loop_threads) {
    static_cast<uint8_t *>(p.codes)[first + d] = code_of(by(float_at(p.x, p.dtype, first + d)), p.codes_dtype);
  }
}

template <bool quantizes, bool in_registers>
struct Quantize {
  explicit Quantize(const NodeView &) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    QuantizeRows p{};
    p.x = x.data;
    p.largest_T = quantizes && is_there(call, 1) ? static_cast<const float *>(call.in[1].data) : nullptr;
    p.codes = quantizes ? call.out[0].data : nullptr;
    p.scale_T = static_cast<float *>(call.out[quantizes].data);
    p.rows = x.shape[0];
    p.width = x.shape[1];
    p.dtype = x.dtype;
    p.codes_dtype = call.out[0].dtype;
    const RowPlan plan(p.width, p.dtype);
    if (!in_registers || !plan.vectors) {
      return launch(ctx, "quantize_in_loops", Grid{dim3(static_cast<unsigned>(p.rows)), dim3(loop_threads)},
                    quantize_in_loops, p);
    }
    int status = 0;
    with_float_type(p.dtype, [&](auto type) {
      with_vectors(plan.vectors, [&](auto vectors) {
        status = launch(ctx, "quantize_in_registers", plan.grid(p.rows),
                        quantize_in_registers<decltype(type), vectors.value>, p);
      });
    });
    return status;
  }
};

template <bool quantizes>
constexpr IngotKernel kernels[] = {kernel_of<Quantize<quantizes, true>>("registers"),
                                   kernel_of<Quantize<quantizes, false>>("loops")};

constexpr IngotOpKernels sets[] = {{"ingot", "QuantizeToken", kernels<true>, 2},
                                   {"ingot", "TokenLargest", kernels<false>, 2}};

}  // namespace

std::span<const IngotOpKernels> quantize_kernels() { return sets; }

}  // namespace ingot
