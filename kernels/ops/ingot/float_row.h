// A row of any floating-point type, or of codes, in pieces of float32. The conversions have no branches, so that
// compilers make vectors of the loops; they give the numbers that ops/numbers.h gives.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ingot_op.h"
#include "ops/numbers.h"

namespace ingot {

constexpr int64_t piece_size = 1024;  // floats of a row that lie on the stack at a time

// Calls body(first, count) for the pieces of a row of `count` elements, in order.
template <class Body>
inline void each_piece(int64_t count, const Body &body) {
  for (int64_t first = 0; first < count; first += piece_size) body(first, std::min(piece_size, count - first));
}

// A smaller format's exponent and mantissa stand where a float's do; a product with a power of two puts the exponent
// right, subnormal numbers included.
inline float float_of_f16(uint16_t code) {
  const uint32_t size = (code & 0x7fffu) << 13, sign = (code & 0x8000u) << 16;
  const uint32_t infinite = size >= 0x0f800000u ? 0x7f800000u : 0u;
  return float_of_bits(bits_of(float_of_bits(size) * 0x1p112f) | infinite | sign);
}

inline float float_of_e4m3(uint8_t code) {
  const uint32_t size = (code & 0x7fu) << 20, sign = (code & 0x80u) << 24;
  const uint32_t nan = size == 0x07f00000u ? 0x7fc00000u : 0u;
  return float_of_bits(bits_of(float_of_bits(size) * 0x1p120f) | nan | sign);
}

// |x| in units of the last place of a small format, to nearest even, after the exponents below x's: its code. `shift`
// is how many bits fewer it has than a float, `least` the bits of its smallest normal number, from which on down the
// unit stays. A float whose last place is that unit, added, rounds; nothing here may be skipped, so that compilers need
// no branch.
inline uint32_t small_code(int32_t size, int32_t least, int32_t shift) {
  const int32_t exponent = std::max(size & 0x7f800000, least);
  const float unit = float_of_bits(static_cast<uint32_t>(exponent + (shift << 23)));
  const float sum = float_of_bits(static_cast<uint32_t>(size)) + unit;
  return bits_of(sum) - bits_of(unit) + static_cast<uint32_t>((exponent - least) >> shift);
}

inline uint16_t f16_of_float(float x) {
  const auto size = static_cast<int32_t>(bits_of(x) & 0x7fffffffu);
  const uint32_t nan = size > 0x7f800000 ? 0x7e00u : 0u, sign = (bits_of(x) >> 16) & 0x8000u;
  constexpr int32_t infinite = 0x477ff000;  // 65520, the least that rounds to infinity
  return static_cast<uint16_t>(small_code(std::min(size, infinite), 0x38800000, 13) | nan | sign);
}

inline uint16_t bf16_of_float(float x) {
  const uint32_t bits = bits_of(x), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}

// More than 448, the largest, becomes 448; NaN stays NaN.
inline uint8_t e4m3_of_float(float x) {
  const auto size = static_cast<int32_t>(bits_of(x) & 0x7fffffffu);
  const uint32_t nan = size > 0x7f800000 ? 0x7fu : 0u, sign = (bits_of(x) >> 24) & 0x80u;
  return static_cast<uint8_t>(small_code(std::min(size, 0x43e00000), 0x3c800000, 20) | nan | sign);
}

// Elements first … first + count - 1 of `from` as floats.
inline void read_floats(const void *from, int32_t dtype, int64_t first, int64_t count, float *to) {
  const auto *halves = static_cast<const uint16_t *>(from) + (dtype == INGOT_F16 || dtype == INGOT_BF16 ? first : 0);
  const auto *bytes = static_cast<const uint8_t *>(from) + (dtype == INGOT_F8E4M3 || dtype == INGOT_I8 ? first : 0);
  switch (dtype) {
    case INGOT_F32:
      std::copy_n(static_cast<const float *>(from) + first, count, to);
      return;
    case INGOT_F16:
      for (int64_t i = 0; i < count; ++i) to[i] = float_of_f16(halves[i]);
      return;
    case INGOT_BF16:
      for (int64_t i = 0; i < count; ++i) to[i] = from_bf16(halves[i]);
      return;
    case INGOT_F8E4M3:
      for (int64_t i = 0; i < count; ++i) to[i] = float_of_e4m3(bytes[i]);
      return;
    default:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(static_cast<int8_t>(bytes[i]));
  }
}

// Writes floats as elements first … first + count - 1 of `to`, of type f32, f16, bf16 or f8e4m3.
inline void write_floats(const float *from, int64_t count, void *to, int32_t dtype, int64_t first) {
  switch (dtype) {
    case INGOT_F32:
      std::copy_n(from, count, static_cast<float *>(to) + first);
      return;
    case INGOT_F16: {
      auto *halves = static_cast<uint16_t *>(to) + first;
      for (int64_t i = 0; i < count; ++i) halves[i] = f16_of_float(from[i]);
      return;
    }
    case INGOT_F8E4M3: {
      auto *codes = static_cast<uint8_t *>(to) + first;
      for (int64_t i = 0; i < count; ++i) codes[i] = e4m3_of_float(from[i]);
      return;
    }
    default: {
      auto *halves = static_cast<uint16_t *>(to) + first;
      for (int64_t i = 0; i < count; ++i) halves[i] = bf16_of_float(from[i]);
    }
  }
}

// Each value as a row of type f32, f16 or bf16 would hold it.
inline void round_floats(float *values, int64_t count, int32_t dtype) {
  if (dtype == INGOT_F16) {
    for (int64_t i = 0; i < count; ++i) values[i] = float_of_f16(f16_of_float(values[i]));
  } else if (dtype == INGOT_BF16) {
    for (int64_t i = 0; i < count; ++i) values[i] = from_bf16(bf16_of_float(values[i]));
  }
}

}  // namespace ingot
