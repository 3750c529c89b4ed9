// Eight floats at a time. Included only by files that are compiled for AVX2, FMA and F16C.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "ingot_op.h"

namespace ingot {
namespace {

struct Avx2Lanes {
  using Vector = __m256;
  static constexpr int width = 8;
  static constexpr int tile_tokens = 3;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector set(float x) { return _mm256_set1_ps(x); }
  static Vector load(const float *p) { return _mm256_loadu_ps(p); }
  static void store(float *p, Vector x) { _mm256_storeu_ps(p, x); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  static Vector magnitude(Vector a) { return _mm256_andnot_ps(set(-0.f), a); }
  static Vector with_sign(Vector a, Vector sign) { return _mm256_or_ps(a, _mm256_and_ps(set(-0.f), sign)); }
  static Vector round(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vector power_of_two(Vector n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }

  static void sum4(Vector a, Vector b, Vector c, Vector d, float *out) {
    const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
  }
  static float sum(Vector a) {
    float out[4];
    sum4(a, a, a, a, out);
    return out[0];
  }
  static float largest(Vector a) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }

  template <int32_t dtype>
  static Vector read(const void *p) {
    if constexpr (dtype == INGOT_F32) {
      return _mm256_loadu_ps(static_cast<const float *>(p));
    } else if constexpr (dtype == INGOT_F16) {
      return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i *>(p)));
    } else if constexpr (dtype == INGOT_BF16) {
      const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i *>(p)));
      return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    } else if constexpr (dtype == INGOT_F8E4M3) {
      return from_f8e4m3(signed_octets(p));
    } else {
      return _mm256_cvtepi32_ps(signed_octets(p));
    }
  }

  template <int32_t dtype>
  static void write(void *p, Vector x) {
    if constexpr (dtype == INGOT_F32) {
      _mm256_storeu_ps(static_cast<float *>(p), x);
    } else if constexpr (dtype == INGOT_F16) {
      _mm_storeu_si128(static_cast<__m128i *>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    } else {
      const __m256i words = to_bf16(x);
      const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
      _mm_storeu_si128(static_cast<__m128i *>(p), _mm_packus_epi32(low, high));
    }
  }

 private:
  static __m256i signed_octets(const void *p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i *>(p)));
  }
  // Exponent and mantissa stand where a float's do; the product puts the exponent right, subnormal numbers included.
  static Vector from_f8e4m3(__m256i code) {
    const __m256i magnitude = _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(0x7f)), 20);
    const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), set(0x1p120f));
    const __m256i is_nan = _mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x07f00000));
    const __m256i nan = _mm256_and_si256(is_nan, _mm256_set1_epi32(0x7fc00000));
    return with_sign(_mm256_or_ps(value, _mm256_castsi256_ps(nan)), _mm256_castsi256_ps(code));
  }
  static __m256i to_bf16(Vector x) {
    const __m256i u = _mm256_castps_si256(x), high = _mm256_srli_epi32(u, 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd);
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
    return _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
  }
};

}  // namespace
}  // namespace ingot
