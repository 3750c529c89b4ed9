// What own kernels do before and after a product of cuBLASLt that does not take the operands as they are.
#pragma once
#include "ops/cuda/product.h"

namespace ingot {

// Rows of the product's weight, from first_row on, as numbers of the type of x, f16 or bf16: codes of eight bits as
// they are, codes in groups as (code - zero) scale, rounded. Rows are multiples of 16 codes, groups too.
cudaError_t launch_unpack(const Product &product, int32_t first_row, int32_t rows, void *weight_RD,
                          cudaStream_t stream);

// The place of sums in a product: tokens and rows of weight from the first ones on; in memory token by token, stride
// numbers each, which is a multiple of 4.
struct SumsPlace {
  int32_t first_token, tokens, first_row, rows, stride;
};

// y of the product's scales and bias and of sums, which are of type f32 or i32.
cudaError_t launch_finish(const Product &product, const SumsPlace &place, const void *sums, int32_t sums_dtype,
                          cudaStream_t stream);

}  // namespace ingot
