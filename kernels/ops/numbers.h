// Single numbers of any element type, as the naive kernels read and write them. Conversions round to the nearest, ties
// to even. f8: OCP 8-bit floating point, E4M3 without infinities (OFP8, section 5); a number beyond its largest becomes
// the largest where `saturate` says so, as ONNX's Cast and QuantizeLinear do, else NaN.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "ingot_op.h"

namespace ingot {

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline float from_bf16(uint16_t code) { return float_of_bits(static_cast<uint32_t>(code) << 16); }

inline uint16_t to_bf16(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// A small float of 1 sign, `exponent` and `mantissa` bits to float32. The largest exponent means infinity and NaN where
// `ieee`; else only all ones are NaN.
template <int exponent, int mantissa, bool ieee>
inline float from_small(uint32_t code) {
  constexpr int32_t bias = (1 << (exponent - 1)) - 1;
  constexpr uint32_t mask = (1u << mantissa) - 1, top = (1u << exponent) - 1;
  const uint32_t e = (code >> mantissa) & top, m = code & mask;
  const float sign = (code >> (exponent + mantissa)) & 1u ? -1.f : 1.f;
  if (ieee && e == top) return m ? std::nanf("") : sign * INFINITY;
  if (!ieee && e == top && m == mask) return std::nanf("");
  if (e == 0) return sign * std::ldexp(static_cast<float>(m), 1 - bias - mantissa);
  return sign * std::ldexp(static_cast<float>(m | (1u << mantissa)), static_cast<int>(e) - bias - mantissa);
}

template <int exponent, int mantissa, bool ieee>
inline uint32_t to_small(float x, bool saturate) {
  constexpr int32_t bias = (1 << (exponent - 1)) - 1;
  constexpr uint32_t mask = (1u << mantissa) - 1, top = (1u << exponent) - 1;
  constexpr uint32_t infinity = top << mantissa, nan = ieee ? infinity | (1u << (mantissa - 1)) : infinity | mask;
  constexpr uint32_t largest = ieee ? infinity - 1 : nan - 1;
  const uint32_t sign = (bits_of(x) >> 31) << (exponent + mantissa);
  if (std::isnan(x)) return sign | nan;
  const float size = std::fabs(x);
  uint32_t code = largest + 1;
  if (size < std::ldexp(1.f, static_cast<int>(top) - bias + 1)) {
    int e = 0;
    std::frexp(size, &e);  // size = f * 2^e, 0.5 <= f < 1
    const int unit = (size == 0 || e - 1 < 1 - bias ? 1 - bias : e - 1) - mantissa;
    const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(size, -unit)));
    // Normal numbers have the leading one at 1 << mantissa, and it carries into the exponent.
    code = units + static_cast<uint32_t>(unit + bias + mantissa - 1) * (1u << mantissa);
  }
  if (code > largest) code = saturate ? largest : ieee ? infinity : nan;
  return sign | code;
}

inline float from_f16(uint16_t code) { return from_small<5, 10, true>(code); }
inline uint16_t to_f16(float x) { return static_cast<uint16_t>(to_small<5, 10, true>(x, false)); }
inline float from_e4m3(uint8_t code) { return from_small<4, 3, false>(code); }
inline uint8_t to_e4m3(float x, bool saturate = true) {
  return static_cast<uint8_t>(to_small<4, 3, false>(x, saturate));
}
inline float from_e5m2(uint8_t code) { return from_small<5, 2, true>(code); }
inline uint8_t to_e5m2(float x, bool saturate = true) {
  return static_cast<uint8_t>(to_small<5, 2, true>(x, saturate));
}

inline int32_t four_bits(const void *data, int64_t i) {
  return (static_cast<const uint8_t *>(data)[i / 2] >> (4 * (i % 2))) & 15;
}

// Element i as a float. Integers beyond 2^24 lose their last bits: see read_integer.
inline float read_float(const void *data, int32_t dtype, int64_t i) {
  switch (dtype) {
    case INGOT_F32:
      return static_cast<const float *>(data)[i];
    case INGOT_F16:
      return from_f16(static_cast<const uint16_t *>(data)[i]);
    case INGOT_BF16:
      return from_bf16(static_cast<const uint16_t *>(data)[i]);
    case INGOT_F8E4M3:
      return from_e4m3(static_cast<const uint8_t *>(data)[i]);
    case INGOT_F8E5M2:
      return from_e5m2(static_cast<const uint8_t *>(data)[i]);
    case INGOT_I8:
      return static_cast<const int8_t *>(data)[i];
    case INGOT_U8:
    case INGOT_BOOL:
      return static_cast<const uint8_t *>(data)[i];
    case INGOT_I32:
      return static_cast<float>(static_cast<const int32_t *>(data)[i]);
    case INGOT_I64:
      return static_cast<float>(static_cast<const int64_t *>(data)[i]);
    case INGOT_U4:
      return static_cast<float>(four_bits(data, i));
    case INGOT_I4:
      return static_cast<float>((four_bits(data, i) ^ 8) - 8);
    default:
      return std::nanf("");
  }
}

inline bool is_float(int32_t dtype) {
  return dtype == INGOT_F32 || dtype == INGOT_F16 || dtype == INGOT_BF16 || dtype == INGOT_F8E4M3 ||
         dtype == INGOT_F8E5M2;
}

inline int64_t read_integer(const void *data, int32_t dtype, int64_t i) {
  if (dtype == INGOT_I64) return static_cast<const int64_t *>(data)[i];
  if (dtype == INGOT_I32) return static_cast<const int32_t *>(data)[i];
  return static_cast<int64_t>(read_float(data, dtype, i));
}

// Writes x, which is in range, as element i of an integer type.
inline void write_integer(void *data, int32_t dtype, int64_t i, int64_t x) {
  switch (dtype) {
    case INGOT_I64:
      static_cast<int64_t *>(data)[i] = x;
      return;
    case INGOT_I32:
      static_cast<int32_t *>(data)[i] = static_cast<int32_t>(x);
      return;
    case INGOT_I8:
    case INGOT_U8:
      static_cast<uint8_t *>(data)[i] = static_cast<uint8_t>(x);
      return;
    case INGOT_BOOL:
      static_cast<uint8_t *>(data)[i] = x != 0;
      return;
    default: {  // 4-bit types; the other half of the byte is somebody else's
      uint8_t &byte = static_cast<uint8_t *>(data)[i / 2];
      const int shift = 4 * static_cast<int>(i % 2);
      byte = static_cast<uint8_t>((byte & ~(15 << shift)) | ((x & 15) << shift));
    }
  }
}

// Writes x as element i of a floating-point type.
inline void write_float(void *data, int32_t dtype, int64_t i, float x, bool saturate = true) {
  switch (dtype) {
    case INGOT_F32:
      static_cast<float *>(data)[i] = x;
      return;
    case INGOT_F16:
      static_cast<uint16_t *>(data)[i] = to_f16(x);
      return;
    case INGOT_BF16:
      static_cast<uint16_t *>(data)[i] = to_bf16(x);
      return;
    case INGOT_F8E4M3:
      static_cast<uint8_t *>(data)[i] = to_e4m3(x, saturate);
      return;
    case INGOT_F8E5M2:
      static_cast<uint8_t *>(data)[i] = to_e5m2(x, saturate);
      return;
    default:
      write_integer(data, dtype, i, static_cast<int64_t>(x));
  }
}

// x as a float of that type would hold it.
inline float rounded(float x, int32_t dtype) {
  switch (dtype) {
    case INGOT_F16:
      return from_f16(to_f16(x));
    case INGOT_BF16:
      return from_bf16(to_bf16(x));
    default:
      return x;
  }
}

inline int64_t elements_of(const IngotTensor &tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
}

}  // namespace ingot
