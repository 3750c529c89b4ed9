// Single elements of any type, by the type's number: for kernels that take every type and need not be fast. They read
// and write the numbers that ops/numbers.h does.
#pragma once
#include "ops/cuda/vectors.h"

namespace ingot {

__device__ inline int four_bits(const void *data, int64_t i) {
  return static_cast<const uint8_t *>(data)[i / 2] >> (4 * (i % 2)) & 15;
}

__device__ inline int64_t integer_at(const void *data, int32_t dtype, int64_t i) {
  switch (dtype) {
    case INGOT_I64:
      return static_cast<const int64_t *>(data)[i];
    case INGOT_I32:
      return static_cast<const int32_t *>(data)[i];
    case INGOT_I8:
      return static_cast<const int8_t *>(data)[i];
    case INGOT_U4:
      return four_bits(data, i);
    case INGOT_I4:
      return (four_bits(data, i) ^ 8) - 8;
    default:
      return static_cast<const uint8_t *>(data)[i];  // u8, bool
  }
}

__device__ inline float float_at(const void *data, int32_t dtype, int64_t i) {
  switch (dtype) {
    case INGOT_F32:
      return static_cast<const float *>(data)[i];
    case INGOT_F16:
      return to_float(static_cast<const __half *>(data)[i]);
    case INGOT_BF16:
      return to_float(static_cast<const __nv_bfloat16 *>(data)[i]);
    case INGOT_F8E4M3:
      return static_cast<float>(static_cast<const __nv_fp8_e4m3 *>(data)[i]);
    case INGOT_F8E5M2:
      return static_cast<float>(static_cast<const __nv_fp8_e5m2 *>(data)[i]);
    default:
      return static_cast<float>(integer_at(data, dtype, i));
  }
}

// Integers lose the bits that their type does not have; of 4-bit types, see store_pair.
__device__ inline void store_integer(void *data, int32_t dtype, int64_t i, int64_t x) {
  switch (dtype) {
    case INGOT_I64:
      static_cast<int64_t *>(data)[i] = x;
      break;
    case INGOT_I32:
      static_cast<int32_t *>(data)[i] = static_cast<int32_t>(x);
      break;
    case INGOT_BOOL:
      static_cast<uint8_t *>(data)[i] = x != 0;
      break;
    default:
      static_cast<uint8_t *>(data)[i] = static_cast<uint8_t>(x);
  }
}

// x beyond an f8 type becomes its largest where `saturate`, else infinity or NaN.
__device__ inline void store_float(void *data, int32_t dtype, int64_t i, float x, bool saturate = true) {
  const __nv_saturation_t beyond = saturate ? __NV_SATFINITE : __NV_NOSAT;
  switch (dtype) {
    case INGOT_F32:
      static_cast<float *>(data)[i] = x;
      break;
    case INGOT_F16:
      static_cast<__half *>(data)[i] = from_float<__half>(x);
      break;
    case INGOT_BF16:
      static_cast<__nv_bfloat16 *>(data)[i] = from_float<__nv_bfloat16>(x);
      break;
    case INGOT_F8E4M3:
      static_cast<uint8_t *>(data)[i] = __nv_cvt_float_to_fp8(x, beyond, __NV_E4M3);
      break;
    default:
      static_cast<uint8_t *>(data)[i] = __nv_cvt_float_to_fp8(x, beyond, __NV_E5M2);
  }
}

__device__ inline float rounded_to(int32_t dtype, float x) {
  if (dtype == INGOT_F16) return rounded_to<__half>(x);
  if (dtype == INGOT_BF16) return rounded_to<__nv_bfloat16>(x);
  return x;
}

__host__ __device__ inline bool is_float_type(int32_t dtype) {
  return dtype == INGOT_F32 || dtype == INGOT_F16 || dtype == INGOT_BF16 || dtype == INGOT_F8E4M3 ||
         dtype == INGOT_F8E5M2;
}
__host__ __device__ inline bool is_four_bits(int32_t dtype) { return dtype == INGOT_U4 || dtype == INGOT_I4; }

// Bytes of an element; two of 4 bits share one.
inline int64_t bytes_of_type(int32_t dtype) {
  switch (dtype) {
    case INGOT_I64:
      return 8;
    case INGOT_F32:
    case INGOT_I32:
      return 4;
    case INGOT_F16:
    case INGOT_BF16:
      return 2;
    default:
      return 1;
  }
}

}  // namespace ingot
