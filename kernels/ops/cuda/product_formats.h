// How 16 bytes of a row of weight, and the x of the same places, become operands of the tensor cores, for each pair of
// types. k is summed over, so its order is free: the lane that loads 16 bytes of weights loads the x of the same
// places, and both are taken as they lie.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "ingot_op.h"
#include "ops/cuda/mma.h"

namespace ingot {

// Weights and x of one type. codes: numbers in 16 bytes of weights; x_vectors: 16-byte vectors of x for them; words:
// 32-bit operands made of them; groups: how many groups four lanes' codes belong to, 0: there are none.
template <class Mma_, int codes_>
struct SameFormat {
  using Mma = Mma_;
  static constexpr int codes = codes_, x_vectors = 1, words = 4, groups = 0;
  static __device__ void weights(const uint4 &raw, uint32_t (&a)[4]) {
    a[0] = raw.x, a[1] = raw.y, a[2] = raw.z, a[3] = raw.w;
  }
  static __device__ void x(const uint4 (&raw)[1], uint32_t (&b)[4]) { weights(raw[0], b); }
};

struct ToBf16 {
  using Mma = Bf16Mma;
  static __device__ uint32_t pair(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t &>(both);
  }
  static __device__ uint32_t pair(__half2 both) { return pair(__low2float(both), __high2float(both)); }
  // Two codes of four bits less offset and zero. Every step is exact: small integers.
  static __device__ uint32_t less(uint32_t codes, float offset, float zero) {
    const uint32_t bits = codes | 0x43004300u;
    const __nv_bfloat162 from_offset =
        __hsub2(reinterpret_cast<const __nv_bfloat162 &>(bits), __float2bfloat162_rn(128 + offset));
    const __nv_bfloat162 both = __hsub2(from_offset, __float2bfloat162_rn(zero));
    return reinterpret_cast<const uint32_t &>(both);
  }
};

struct ToF16 {
  using Mma = F16Mma;
  static __device__ uint32_t pair(float low, float high) { return pair(__floats2half2_rn(low, high)); }
  static __device__ uint32_t pair(__half2 both) { return reinterpret_cast<const uint32_t &>(both); }
  static __device__ uint32_t less(uint32_t codes, float offset, float zero) {
    const uint32_t bits = codes | 0x64006400u;
    return pair(__hsub2(reinterpret_cast<const __half2 &>(bits), __float2half2_rn(1024 + offset + zero)));
  }
};

// Sixteen e4m3 codes, which f16 and bf16 hold exactly.
template <class X>
__device__ void f8_pairs(const uint4 &raw, uint32_t (&pairs)[8]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const auto codes = static_cast<__nv_fp8x2_storage_t>(words[i / 2] >> (i % 2 * 16));
    pairs[i] = X::pair(__half2(__nv_cvt_fp8x2_to_halfraw2(codes, __NV_E4M3)));
  }
}

// Sixteen int8 codes less their zero, which f16 and bf16 hold exactly: the offset binary of a code stands in the low
// byte of 2^23.
template <class X>
__device__ void i8_pairs(const uint4 &raw, float zero, uint32_t (&pairs)[8]) {
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
  const float offset = 8388736.0f + zero;  // 2^23 + 128
  const auto number = [&](uint32_t word, uint32_t byte) {
    return __uint_as_float(__byte_perm(word ^ 0x80808080u, 0x4B000000u, 0x7440u + byte)) - offset;
  };
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i) {
    pairs[i] = X::pair(number(words[i / 2], i % 2 * 2), number(words[i / 2], i % 2 * 2 + 1));
  }
}

// x of 16 bits beside codes of 8.
template <class X>
struct WideX {
  using Mma = typename X::Mma;
  static constexpr int codes = 16, x_vectors = 2, words = 8, groups = 0;
  static __device__ void x(const uint4 (&raw)[2], uint32_t (&b)[8]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      b[4 * i] = raw[i].x, b[4 * i + 1] = raw[i].y, b[4 * i + 2] = raw[i].z, b[4 * i + 3] = raw[i].w;
    }
  }
};

template <class X>
struct F8Codes : WideX<X> {
  static __device__ void weights(const uint4 &raw, uint32_t (&a)[8]) { f8_pairs<X>(raw, a); }
};

template <class X>
struct I8Codes : WideX<X> {
  static __device__ void weights(const uint4 &raw, uint32_t (&a)[8]) { i8_pairs<X>(raw, 0, a); }
};

// int8 codes in groups.
template <class X, int groups_>
struct GroupedI8 : WideX<X> {
  static constexpr int groups = groups_;
  static __device__ void weights(const uint4 &raw, float zero, bool, uint32_t (&a)[8]) { i8_pairs<X>(raw, zero, a); }
};

// Codes of four bits in groups. Codes i and i + 4 of eight become a pair, which takes the fewest instructions, and x is
// paired likewise. A code stands in the low bits of 128 (bf16) or 1024 (f16), where the unit is 1.
template <class X, int groups_>
struct GroupedI4 {
  using Mma = typename X::Mma;
  static constexpr int codes = 32, x_vectors = 4, words = 16, groups = groups_;

  static __device__ void weights(const uint4 &raw, float zero, bool is_signed, uint32_t (&a)[16]) {
    const uint32_t words_of_8[4] = {raw.x, raw.y, raw.z, raw.w};
    const uint32_t flip = is_signed ? 0x88888888u : 0;  // two's complement becomes offset binary
#pragma unroll
    for (int w = 0; w < 4; ++w) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[4 * w + i] = X::less((words_of_8[w] ^ flip) >> (4 * i) & 0x000f000fu, is_signed ? 8.0f : 0.0f, zero);
      }
    }
  }

  static __device__ void x(const uint4 (&raw)[4], uint32_t (&b)[16]) {
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      b[4 * w] = __byte_perm(raw[w].x, raw[w].z, 0x5410);
      b[4 * w + 1] = __byte_perm(raw[w].x, raw[w].z, 0x7632);
      b[4 * w + 2] = __byte_perm(raw[w].y, raw[w].w, 0x5410);
      b[4 * w + 3] = __byte_perm(raw[w].y, raw[w].w, 0x7632);
    }
  }
};

// e4m3 on both sides, multiplied as f16: sm_90 does mma.sync of e4m3 no better, and other architectures have no such.
struct F8Both {
  using Mma = F16Mma;
  static constexpr int codes = 16, x_vectors = 1, words = 8, groups = 0;
  static __device__ void weights(const uint4 &raw, uint32_t (&a)[8]) { f8_pairs<ToF16>(raw, a); }
  static __device__ void x(const uint4 (&raw)[1], uint32_t (&b)[8]) { f8_pairs<ToF16>(raw[0], b); }
};

// Calls with(Format) for the pair of types; false: there is none.
template <class With>
bool with_format(int32_t x, int32_t weight, With with) {
  if (x == INGOT_BF16 && weight == INGOT_BF16) return with(SameFormat<Bf16Mma, 8>()), true;
  if (x == INGOT_F16 && weight == INGOT_F16) return with(SameFormat<F16Mma, 8>()), true;
  if (x == INGOT_F8E4M3 && weight == INGOT_F8E4M3) return with(F8Both()), true;
  if (x == INGOT_I8 && weight == INGOT_I8) return with(SameFormat<I8Mma, 16>()), true;
  if (x == INGOT_BF16 && weight == INGOT_F8E4M3) return with(F8Codes<ToBf16>()), true;
  if (x == INGOT_F16 && weight == INGOT_F8E4M3) return with(F8Codes<ToF16>()), true;
  if (x == INGOT_BF16 && weight == INGOT_I8) return with(I8Codes<ToBf16>()), true;
  if (x == INGOT_F16 && weight == INGOT_I8) return with(I8Codes<ToF16>()), true;
  return false;
}

}  // namespace ingot
