// Numbers of f32, f16 and bf16 in vectors of 16 bytes, and as floats; e4m3. Conversions round to the nearest, ties to
// even, as those of ops/numbers.h do.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>
#include <type_traits>

#include "ingot_op.h"

namespace ingot {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class X>
__device__ inline X from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// x as a number of type X would hold it.
template <class X>
__device__ inline float rounded_to(float x) {
  return to_float(from_float<X>(x));
}

// Two e4m3 codes, a's in the low byte; more than 448 becomes 448, NaN stays NaN.
__device__ inline uint16_t to_e4m3(float a, float b) {
  return __nv_cvt_float2_to_fp8x2(float2{a, b}, __NV_SATFINITE, __NV_E4M3);
}
__device__ inline uint8_t to_e4m3(float x) { return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3); }
__device__ inline float2 from_e4m3(uint16_t codes) {
  return __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(codes, __NV_E4M3)));
}

// An i8 code: to the nearest, ties to even, saturated; NaN becomes 0.
__device__ inline int8_t to_i8(float x) { return static_cast<int8_t>(max(-128, min(127, __float2int_rn(x)))); }

// 16 bytes of numbers of type X.
template <class X>
struct alignas(16) Vector {
  static constexpr int size = 16 / sizeof(X);
  X numbers[size];
};

template <class X>
__device__ inline void to_floats(const Vector<X> &from, float (&to)[Vector<X>::size]) {
  if constexpr (sizeof(X) == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = from.numbers[i];
  } else {
    using Pair = std::conditional_t<std::is_same_v<X, __half>, __half2, __nv_bfloat162>;
    const auto *pairs = reinterpret_cast<const Pair *>(from.numbers);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float2 two;
      if constexpr (std::is_same_v<X, __half>) two = __half22float2(pairs[i]);
      if constexpr (std::is_same_v<X, __nv_bfloat16>) two = __bfloat1622float2(pairs[i]);
      to[2 * i] = two.x;
      to[2 * i + 1] = two.y;
    }
  }
}

template <class X>
__device__ inline Vector<X> from_floats(const float (&from)[Vector<X>::size]) {
  Vector<X> to;
  if constexpr (sizeof(X) == 4) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to.numbers[i] = from[i];
  } else if constexpr (std::is_same_v<X, __half>) {
    auto *pairs = reinterpret_cast<__half2 *>(to.numbers);
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[i] = __floats2half2_rn(from[2 * i], from[2 * i + 1]);
  } else {
    auto *pairs = reinterpret_cast<__nv_bfloat162 *>(to.numbers);
#pragma unroll
    for (int i = 0; i < 4; ++i) pairs[i] = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
  }
  return to;
}

// Vector i of numbers that begin at a multiple of 16 bytes.
template <class X>
__device__ inline Vector<X> load_vector(const X *from, int64_t i) {
  const uint4 bits = reinterpret_cast<const uint4 *>(from)[i];
  return *reinterpret_cast<const Vector<X> *>(&bits);
}

template <class X>
__device__ inline void store_vector(X *to, int64_t i, const Vector<X> &vector) {
  reinterpret_cast<uint4 *>(to)[i] = *reinterpret_cast<const uint4 *>(&vector);
}

// The element type of an IngotDtype as a C++ type: calls with(X{}) and returns true; false: it is none of these.
template <class With>
bool with_float_type(int32_t dtype, const With &with) {
  if (dtype == INGOT_F32) return with(float{}), true;
  if (dtype == INGOT_F16) return with(__half{}), true;
  if (dtype == INGOT_BF16) return with(__nv_bfloat16{}), true;
  return false;
}

}  // namespace ingot
