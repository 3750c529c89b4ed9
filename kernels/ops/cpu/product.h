// y_TF = x_TD weight_FD^T, scaled, with bias: what Linear and ScaledLinear ask of an instruction set.
//
// Every output owns one vector of partial sums that walks along D in order and is summed up by one fixed tree. Tiles
// of tokens and rows share loads and nothing else, so a token's result is the same, bit for bit, whatever stands
// beside it.
#pragma once
#include <cstdint>

namespace ingot {

struct Product {
  int64_t T, D, F;
  const void *x_TD;  // in the dtype that the kernel reads
  const void *weight_FD;
  int32_t weight_dtype;
  const float *x_scale_T;  // NULL: 1
  const float *scale;      // NULL: 1; [F] or one number
  bool scale_per_row;
  const void *bias_F;  // NULL: 0
  int32_t bias_dtype;
  void *y_TF;
  int32_t y_dtype;
};

struct ProductKernel {
  int32_t x_dtype;      // what it reads x as: INGOT_F32 or INGOT_BF16
  int32_t tile_tokens;  // tokens of one tile: with no more, weights are read once and decoded in registers
  // Writes `count` elements of `from`, of type `dtype`, as x_dtype.
  void (*convert)(const void *from, int32_t dtype, void *to, int64_t count);
  // Computes the outputs of rows begin … end-1. panel: panel_bytes(D) of scratch for decoded weights, or NULL.
  void (*rows)(const Product &, int64_t begin, int64_t end, void *panel);
};

constexpr int64_t max_block_rows = 32;
constexpr int64_t block_bytes = 384 << 10;  // of weights: they stay in the second-level cache while all tokens pass

// Rows of a block: a multiple of 4. Static, so that no file's instructions reach another through a shared copy.
static constexpr int64_t block_rows(int64_t D, int64_t element_bytes) {
  const int64_t rows = block_bytes / (D * element_bytes + 1) / 4 * 4;
  return rows < 4 ? 4 : rows > max_block_rows ? max_block_rows : rows;
}

static constexpr int64_t panel_bytes(int64_t D, int64_t element_bytes) {
  return (block_rows(D, element_bytes) * D * element_bytes + 255) / 64 * 64;
}

ProductKernel product_portable();
#if defined(__x86_64__)
ProductKernel product_avx2();
ProductKernel product_avx512();
ProductKernel product_avx512_bf16();  // x bf16; weights bf16, f8e4m3, i8
#endif

}  // namespace ingot
