// fp8 and int8 codes as bf16, exactly: 64 codes by two tables of 128 bytes (vpermi2b), one for the high and one for the
// low byte of a magnitude. The tables hold normal numbers only, as vdpbf16ps takes subnormal ones for 0. Included only
// by files that are compiled for AVX-512 BF16 and VBMI.
#pragma once
#include "ops/cpu/avx512_lanes.h"

namespace ingot {
namespace {

// The bf16 bits of the magnitude of code m, 0 <= m < 128.
constexpr unsigned magnitude_bits(int32_t dtype, unsigned m) {
  if (dtype == INGOT_F8E4M3 && m == 127) return 0x7fc0;  // NaN
  if (dtype == INGOT_F8E4M3 && m >= 8) return (m << 4) + (120 << 7);
  if (m == 0) return 0;
  unsigned exponent = dtype == INGOT_F8E4M3 ? 127 - 9 : 127, top = 0;
  while (m >> (top + 1)) ++top;
  return (exponent + top) << 7 | ((m << (7 - top)) & 0x7f);
}

struct alignas(64) Tables {
  unsigned char high[128], low[128];
};

constexpr Tables make_tables(int32_t dtype) {
  Tables tables{};
  for (unsigned m = 0; m < 128; ++m) {
    tables.high[m] = static_cast<unsigned char>(magnitude_bits(dtype, m) >> 8);
    tables.low[m] = static_cast<unsigned char>(magnitude_bits(dtype, m) & 0xff);
  }
  return tables;
}

template <int32_t dtype>
constexpr Tables tables = make_tables(dtype);

struct Bf16Pair {
  __m512i first, second;  // 32 elements each
};

// first: codes 0 … 7 of each quarter of 16; second: the other eight.
template <int32_t dtype>
inline __attribute__((always_inline)) Bf16Pair decode_quarters(__m512i codes) {
  const Tables &t = tables<dtype>;
  const __m512i sign_bit = _mm512_set1_epi8(-128);
  const __m512i magnitude = dtype == INGOT_I8 ? _mm512_abs_epi8(codes) : codes;
  const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(t.low), magnitude, _mm512_load_si512(t.low + 64));
  __m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(t.high), magnitude, _mm512_load_si512(t.high + 64));
  high = _mm512_ternarylogic_epi64(high, codes, sign_bit, 0xf8);  // high | (codes & sign_bit)
  // -128 has no magnitude of seven bits; its low byte is 0, as that of 0 is.
  if constexpr (dtype == INGOT_I8) {
    high = _mm512_mask_mov_epi8(high, _mm512_cmpeq_epi8_mask(codes, sign_bit), _mm512_set1_epi8(-61));
  }
  return {_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)};
}

// first: codes 0 … 31; second: 32 … 63.
template <int32_t dtype>
inline __attribute__((always_inline)) Bf16Pair decode(__m512i codes) {
  // Into an order that unpacking within quarters undoes.
  return decode_quarters<dtype>(_mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), codes));
}

}  // namespace
}  // namespace ingot
