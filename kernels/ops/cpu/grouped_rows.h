// GroupedProduct in float32, for any instruction set: a block of rows is decoded for all tokens, then multiplied as
// floats.
#pragma once
#include "ops/cpu/grouped_codes.h"
#include "ops/cpu/product_rows.h"

namespace ingot {
namespace {

constexpr int64_t whole_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

inline int64_t groups_of(const GroupedProduct &p) { return p.product.D / p.group; }

template <class L>
int64_t float_x_bytes(const GroupedProduct &p) {
  return whole_lines(p.product.D * 4);
}

// The rows, then a row's scales and zero points.
template <class L>
int64_t float_scratch_bytes(const GroupedProduct &p) {
  return whole_lines(block_rows(p.product.D, 4) * p.product.D * 4) + 2 * whole_lines(groups_of(p) * 4);
}

template <class L>
void float_tokens(const GroupedProduct &p, const void *x, int32_t dtype, int64_t begin, int64_t end, void *to) {
  const int64_t D = p.product.D;
  convert_from<L, INGOT_F32>(static_cast<const unsigned char *>(x) + begin * D * element_bytes(dtype), dtype,
                             static_cast<float *>(to) + begin * D, (end - begin) * D);
}

// Row f as floats: (code - zero point) * scale, rounded once.
template <class L>
inline void decode_row(const GroupedProduct &p, int64_t f, float *scales, float *zeros, float *to) {
  const int64_t D = p.product.D, N = groups_of(p);
  convert_from<L, INGOT_F32>(static_cast<const unsigned char *>(p.scale_FN) + f * N * element_bytes(p.scale_dtype),
                             p.scale_dtype, scales, N);
  if (p.zero_FN) read_codes<L>(p.zero_FN, INGOT_I8, f * N, N, zeros);
  read_codes<L>(p.product.weight_FD, p.product.weight_dtype, f * D, D, to);
  for (int64_t n = 0; n < N; ++n) {
    const float scale = scales[n], zero = p.zero_FN ? zeros[n] : 0;
    float *group = to + n * p.group;
    for (int64_t d = 0; d < p.group; ++d) group[d] = (group[d] - zero) * scale;
  }
}

template <class L>
void float_grouped_rows(const GroupedProduct &p, int64_t begin, int64_t end, void *scratch) {
  const int64_t D = p.product.D, most = block_rows(D, 4);
  auto *rows = static_cast<float *>(scratch);
  float *scales = rows + whole_lines(most * D * 4) / 4, *zeros = scales + whole_lines(groups_of(p) * 4) / 4;
  for (int64_t f = begin; f < end; f += most) {
    const int64_t count = end - f < most ? end - f : most;
    for (int64_t i = 0; i < count; ++i) decode_row<L>(p, f + i, scales, zeros, rows + i * D);
    multiply_block<FloatDot<L, INGOT_F32>>(p.product, {reinterpret_cast<const unsigned char *>(rows), D * 4, f, count});
  }
}

template <class L>
constexpr GroupedKernel float_grouped_kernel() {
  return {float_x_bytes<L>, float_scratch_bytes<L>, float_tokens<L>, float_grouped_rows<L>};
}

}  // namespace
}  // namespace ingot
