// Single numbers of any element type, as the naive kernels read and write them. Conversions round to the nearest, ties
// to even. f8: OCP 8-bit floating point, E4M3 without infinities (OFP8, section 5); a number beyond its largest becomes
// the largest where `saturate` says so, as ONNX's Cast and QuantizeLinear do, else NaN.
#pragma once
#include <algorithm>
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
  const uint32_t bits = bits_of(x), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}

// A small float of 1 sign, `exponent` and `mantissa` bits. The largest exponent means infinity and NaN where `ieee`;
// else only all ones are NaN. Nothing here branches, so that compilers make vectors of loops.
template <int exponent, int mantissa, bool ieee>
struct SmallFloat {
  static constexpr int32_t bias = (1 << (exponent - 1)) - 1, shift = 23 - mantissa, place = exponent + mantissa;
  static constexpr uint32_t mask = (1u << mantissa) - 1, top = (1u << exponent) - 1, infinity = top << mantissa;
  static constexpr uint32_t nan = ieee ? infinity | (1u << (mantissa - 1)) : infinity | mask;
  static constexpr uint32_t largest = ieee ? infinity - 1 : nan - 1;

  // Exponent and mantissa stand where a float's do; a product with a power of two puts the exponent right, subnormal
  // numbers included.
  static float decoded(uint32_t code) {
    constexpr uint32_t power = static_cast<uint32_t>(254 - bias) << 23;
    const uint32_t size = (code & ((1u << place) - 1)) << shift, sign = (code >> place) << 31;
    const uint32_t ones = ieee ? 0x7f800000u : 0x7fc00000u;
    const uint32_t special = size >= (ieee ? infinity : nan) << shift ? ones : 0u;
    return float_of_bits(bits_of(float_of_bits(size) * float_of_bits(power)) | special | sign);
  }

  // |x| in units of the last place of x's exponent, to nearest even, after the codes of the exponents below. A float
  // whose last place is that unit, added, rounds; from the smallest normal number down, the unit stays.
  static uint32_t encoded(float x, bool saturate) {
    constexpr int32_t least = (128 - bias) << 23;  // the bits of the smallest normal number, and of the first too large
    constexpr int32_t beyond = (128 + static_cast<int32_t>(top) - bias) << 23;
    const auto size = static_cast<int32_t>(bits_of(x) & 0x7fffffffu), number = std::min(size, beyond);
    const int32_t power = std::max(number & 0x7f800000, least);
    const float unit = float_of_bits(static_cast<uint32_t>(power + (shift << 23)));
    const uint32_t units = bits_of(float_of_bits(static_cast<uint32_t>(number)) + unit) - bits_of(unit);
    const uint32_t code = units + static_cast<uint32_t>((power - least) >> shift);
    const uint32_t limited = std::min(code, saturate ? largest : largest + 1);
    return (size > 0x7f800000 ? nan : limited) | (bits_of(x) >> 31) << place;
  }
};

using F16 = SmallFloat<5, 10, true>;
using E4m3 = SmallFloat<4, 3, false>;
using E5m2 = SmallFloat<5, 2, true>;

inline float from_f16(uint16_t code) { return F16::decoded(code); }
inline uint16_t to_f16(float x) { return static_cast<uint16_t>(F16::encoded(x, false)); }
inline float from_e4m3(uint8_t code) { return E4m3::decoded(code); }
inline uint8_t to_e4m3(float x, bool saturate = true) { return static_cast<uint8_t>(E4m3::encoded(x, saturate)); }
inline float from_e5m2(uint8_t code) { return E5m2::decoded(code); }
inline uint8_t to_e5m2(float x, bool saturate = true) { return static_cast<uint8_t>(E5m2::encoded(x, saturate)); }

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
