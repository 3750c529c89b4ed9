// Single numbers of any type of a product, by the type's number; and the end of a product.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "ops/cuda/product.h"

namespace ingot {

__device__ inline float number_at(const void *data, int32_t dtype, int64_t i) {
  switch (dtype) {
    case INGOT_F32:
      return static_cast<const float *>(data)[i];
    case INGOT_F16:
      return __half2float(static_cast<const __half *>(data)[i]);
    case INGOT_BF16:
      return __bfloat162float(static_cast<const __nv_bfloat16 *>(data)[i]);
    case INGOT_F8E4M3:
      return static_cast<float>(static_cast<const __nv_fp8_e4m3 *>(data)[i]);
    case INGOT_I8:
      return static_cast<const int8_t *>(data)[i];
    default: {  // i4, u4: the even one in the low half
      const int pair = static_cast<const uint8_t *>(data)[i >> 1], code = i & 1 ? pair >> 4 : pair & 15;
      return static_cast<float>(dtype == INGOT_I4 && code > 7 ? code - 16 : code);
    }
  }
}

__device__ inline void store_number(void *data, int32_t dtype, int64_t i, float number) {
  switch (dtype) {
    case INGOT_F32:
      static_cast<float *>(data)[i] = number;
      break;
    case INGOT_F16:
      static_cast<__half *>(data)[i] = __float2half_rn(number);
      break;
    default:
      static_cast<__nv_bfloat16 *>(data)[i] = __float2bfloat16_rn(number);
  }
}

// Scales and bias in the order of the definition; never contracted, so every kernel ends alike.
__device__ inline float product_number(const Product &p, int64_t t, int64_t f, float sum) {
  if (p.x_scale_T) sum = __fmul_rn(sum, p.x_scale_T[t]);
  if (p.scale_F) sum = __fmul_rn(sum, p.scale_F[f * p.scale_step]);
  if (p.bias_F) sum = __fadd_rn(sum, number_at(p.bias_F, p.bias_dtype, f));
  return sum;
}

// The same with the one rounding.
__device__ inline void store_product(const Product &p, int64_t t, int64_t f, float sum) {
  store_number(p.y_TF, p.y_dtype, t * p.F + f, product_number(p, t, f, sum));
}

}  // namespace ingot
