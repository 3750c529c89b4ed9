// Sixteen floats at a time. Included only by files that are compiled for AVX-512 F, BW, VL, DQ.
#pragma once
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
// GCC 12 takes the undefined operands inside its own intrinsics for ours:
// https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

#include "ingot_op.h"

namespace ingot {
namespace {

struct Avx512Lanes {
  using Vector = __m512;
  static constexpr int width = 16;
  static constexpr int tile_tokens = 6;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector set(float x) { return _mm512_set1_ps(x); }
  static Vector load(const float *p) { return _mm512_loadu_ps(p); }
  static void store(float *p, Vector x) { _mm512_storeu_ps(p, x); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  static Vector magnitude(Vector a) { return _mm512_andnot_ps(set(-0.f), a); }
  static Vector with_sign(Vector a, Vector sign) { return _mm512_or_ps(a, _mm512_and_ps(set(-0.f), sign)); }
  static Vector round(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vector power_of_two(Vector n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
  }

  static void sum4(Vector a, Vector b, Vector c, Vector d, float *out) {
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const __m512 lanes = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const __m512 pairs = _mm512_add_ps(lanes, _mm512_permute_ps(lanes, 0x4e));
    const __m512 sums = _mm512_add_ps(pairs, _mm512_permute_ps(pairs, 0xb1));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, sums)));
  }
  static float sum(Vector a) {
    float out[4];
    sum4(a, a, a, a, out);
    return out[0];
  }
  static float largest(Vector a) { return _mm512_reduce_max_ps(a); }

  template <int32_t dtype>
  static Vector read(const void *p) {
    if constexpr (dtype == INGOT_F32) {
      return _mm512_loadu_ps(p);
    } else if constexpr (dtype == INGOT_F16) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i *>(p)));
    } else if constexpr (dtype == INGOT_BF16) {
      const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i *>(p)));
      return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    } else if constexpr (dtype == INGOT_F8E4M3) {
      return from_f8e4m3(signed_octets(p));
    } else {
      return _mm512_cvtepi32_ps(signed_octets(p));
    }
  }

  template <int32_t dtype>
  static void write(void *p, Vector x) {
    if constexpr (dtype == INGOT_F32) {
      _mm512_storeu_ps(p, x);
    } else if constexpr (dtype == INGOT_F16) {
      _mm256_storeu_si256(static_cast<__m256i *>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    } else {
      _mm256_storeu_si256(static_cast<__m256i *>(p), _mm512_cvtepi32_epi16(to_bf16(x)));
    }
  }

 private:
  static __m512i signed_octets(const void *p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i *>(p)));
  }
  // Exponent and mantissa stand where a float's do; the product puts the exponent right, subnormal numbers included.
  static Vector from_f8e4m3(__m512i code) {
    const __m512i magnitude = _mm512_slli_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0x7f)), 20);
    const __m512 value = _mm512_mul_ps(_mm512_castsi512_ps(magnitude), set(0x1p120f));
    const __mmask16 nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x07f00000));
    const __m512 quiet_nan = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000));
    return with_sign(_mm512_mask_mov_ps(value, nan, quiet_nan), _mm512_castsi512_ps(code));
  }
  static __m512i to_bf16(Vector x) {
    const __m512i u = _mm512_castps_si512(x), high = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd);
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, half), 16);
    return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), high, _mm512_set1_epi32(0x40));
  }
};

}  // namespace
}  // namespace ingot
