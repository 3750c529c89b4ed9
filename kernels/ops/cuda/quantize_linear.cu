// QuantizeLinear, DequantizeLinear: a scale for all, for each place of an axis, or for each block along it.
#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

constexpr int threads = 256;

struct Scaling {
  const void *x, *scale, *zero;  // zero: may be NULL
  void *y;
  int64_t count, size, inner;  // elements; of the axis; after it
  int64_t block, blocks;       // places of a block, blocks of the axis; block 0: a scale for each place
  int32_t x_dtype, scale_dtype, zero_dtype, y_dtype;
  int32_t precision;  // type of the quotient
  bool whole, saturate;
};

// The number of element i's scale.
__device__ int64_t scale_of(const Scaling &p, int64_t i) {
  if (p.whole) return 0;
  const int64_t inside = i % p.inner, rows = i / p.inner, at = rows % p.size;
  if (!p.block) return at;
  return (rows / p.size * p.blocks + at / p.block) * p.inner + inside;
}

__device__ float zero_of(const Scaling &p, int64_t s) { return p.zero ? float_at(p.zero, p.zero_dtype, s) : 0.f; }

// The ends of an integer type.
__device__ float2 ends_of(int32_t dtype) {
  if (dtype == INGOT_U8) return {0, 255};
  if (dtype == INGOT_I8) return {-128, 127};
  if (dtype == INGOT_U4) return {0, 15};
  return {-8, 7};
}

__device__ float quotient(const Scaling &p, int64_t i, int64_t s) {
  const float x = rounded_to(p.precision, float_at(p.x, p.x_dtype, i));
  const float scale = rounded_to(p.precision, float_at(p.scale, p.scale_dtype, s));
  return rounded_to(p.precision, __fdiv_rn(x, scale));
}

__device__ int64_t integer_code(const Scaling &p, int64_t i) {
  const int64_t s = scale_of(p, i);
  const float2 ends = ends_of(p.y_dtype);
  const float zero = zero_of(p, s), code = rintf(quotient(p, i, s)) + zero;
  return static_cast<int64_t>(code != code ? zero : fminf(fmaxf(code, ends.x), ends.y));
}

// A thread has two elements, which share a byte where they have 4 bits.
__global__ void __launch_bounds__(threads) quantize_pairs(const Scaling p) {
  let_next_launch();
  wait_for_previous();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x) * 2, end = min(first + 2, p.count);
  if (is_four_bits(p.y_dtype)) {
    if (first >= end) return;
    int64_t byte = 0;
    for (int64_t i = first; i < end; ++i) byte |= (integer_code(p, i) & 15) << (4 * (i - first));
    static_cast<uint8_t *>(p.y)[first / 2] = static_cast<uint8_t>(byte);
    return;
  }
  for (int64_t i = first; i < end; ++i) {
    if (is_float_type(p.y_dtype)) {
      const int64_t s = scale_of(p, i);
      store_float(p.y, p.y_dtype, i, quotient(p, i, s) + zero_of(p, s), p.saturate);
    } else {
      store_integer(p.y, p.y_dtype, i, integer_code(p, i));
    }
  }
}

__global__ void __launch_bounds__(threads) dequantize(const Scaling p) {
  let_next_launch();
  wait_for_previous();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= p.count) return;
  const int64_t s = scale_of(p, i);
  const float number = float_at(p.x, p.x_dtype, i) - zero_of(p, s);
  store_float(p.y, p.y_dtype, i, number * float_at(p.scale, p.scale_dtype, s));
}

template <bool quantizes>
struct Scale {
  int64_t axis, block;
  int32_t precision;
  bool saturate;

  explicit Scale(const NodeView &node)
      : axis(node.integer("axis")),
        block(node.integer("block_size")),
        precision(static_cast<int32_t>(node.integer("precision"))),
        saturate(node.integer("saturate") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &scale = call.in[1], &y = call.out[0];
    Scaling p{};
    p.x = x.data;
    p.scale = scale.data;
    p.y = y.data;
    p.count = count_of(x);
    p.x_dtype = x.dtype;
    p.scale_dtype = scale.dtype;
    p.y_dtype = y.dtype;
    p.precision = precision ? precision : scale.dtype;
    p.whole = count_of(scale) == 1;
    p.saturate = saturate;
    if (is_there(call, 2)) {
      p.zero = call.in[2].data;
      p.zero_dtype = call.in[2].dtype;
    }
    if (!p.whole) {
      const Axis sizes(x, axis);
      p.size = sizes.size;
      p.inner = sizes.inner;
      p.block = block;
      p.blocks = block ? (sizes.size + block - 1) / block : 0;
    }
    const int64_t units = quantizes ? (p.count + 1) / 2 : p.count;
    const Grid grid{dim3(static_cast<unsigned>((units + threads - 1) / threads)), dim3(threads)};
    if (quantizes) return launch(ctx, "quantize_pairs", grid, quantize_pairs, p);
    return launch(ctx, "dequantize", grid, dequantize, p);
  }
};

constexpr IngotKernel quantize_linear[] = {kernel_of<Scale<true>>("map")};
constexpr IngotKernel dequantize_linear[] = {kernel_of<Scale<false>>("map")};
constexpr IngotOpKernels sets[] = {{"", "QuantizeLinear", quantize_linear, 1},
                                   {"", "DequantizeLinear", dequantize_linear, 1}};

}  // namespace

std::span<const IngotOpKernels> quantize_linear_kernels() { return sets; }

}  // namespace ingot
