// y_TF = x_TD weight_FD^T + bias for weights of 4 or 8 bits with scales, and perhaps zero points, of groups along D:
// what GroupedLinear asks of an instruction set.
//
// A kernel has one order of summation for each output, so that a token's result is the same, bit for bit, whatever
// stands beside it.
#pragma once
#include <cstdint>

#include "ingot_op.h"
#include "ops/cpu/product.h"

namespace ingot {

struct GroupedProduct {
  Product product;  // of the codes: its weight_FD; without its scales
  int64_t group;    // elements along D that share a scale; D is a multiple of it
  const void *scale_FN;
  int32_t scale_dtype;  // f32, f16, bf16
  const void *zero_FN;  // NULL: 0; of i8
};

struct GroupedKernel {
  // Bytes of a token's x as the kernel reads it, a multiple of 64; of the scratch that a call of `rows` needs.
  int64_t (*x_bytes)(const GroupedProduct &);
  int64_t (*scratch_bytes)(const GroupedProduct &);
  // Writes tokens begin … end-1 of x, of type `dtype`, as the kernel reads them to their places in `to`.
  void (*convert)(const GroupedProduct &, const void *x, int32_t dtype, int64_t begin, int64_t end, void *to);
  // Computes the outputs of rows begin … end-1. scratch begins at a multiple of 64.
  void (*rows)(const GroupedProduct &, int64_t begin, int64_t end, void *scratch);
};

static constexpr bool is_half_byte(int32_t dtype) { return dtype == INGOT_I4 || dtype == INGOT_U4; }
static constexpr int64_t code_bytes(int32_t dtype, int64_t count) { return is_half_byte(dtype) ? count / 2 : count; }

GroupedKernel grouped_portable();
#if defined(__x86_64__)
GroupedKernel grouped_avx2();
GroupedKernel grouped_avx512();
// x bf16. Whether it can take groups of that size:
bool grouped_avx512_bf16_takes(int32_t code_dtype, int64_t group, int64_t D);
GroupedKernel grouped_avx512_bf16();
#endif

}  // namespace ingot
