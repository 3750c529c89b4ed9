// A row of any floating-point type, or of codes, in pieces of float32.
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

// Elements first … first + count - 1 of `from` as floats.
inline void read_floats(const void *from, int32_t dtype, int64_t first, int64_t count, float *to) {
  const auto *halves = static_cast<const uint16_t *>(from) + (dtype == INGOT_F16 || dtype == INGOT_BF16 ? first : 0);
  const auto *bytes = static_cast<const uint8_t *>(from) + (dtype == INGOT_F8E4M3 || dtype == INGOT_I8 ? first : 0);
  switch (dtype) {
    case INGOT_F32:
      std::copy_n(static_cast<const float *>(from) + first, count, to);
      return;
    case INGOT_F16:
      for (int64_t i = 0; i < count; ++i) to[i] = from_f16(halves[i]);
      return;
    case INGOT_BF16:
      for (int64_t i = 0; i < count; ++i) to[i] = from_bf16(halves[i]);
      return;
    case INGOT_F8E4M3:
      for (int64_t i = 0; i < count; ++i) to[i] = from_e4m3(bytes[i]);
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
      for (int64_t i = 0; i < count; ++i) halves[i] = to_f16(from[i]);
      return;
    }
    case INGOT_F8E4M3: {
      auto *codes = static_cast<uint8_t *>(to) + first;
      for (int64_t i = 0; i < count; ++i) codes[i] = to_e4m3(from[i]);
      return;
    }
    default: {
      auto *halves = static_cast<uint16_t *>(to) + first;
      for (int64_t i = 0; i < count; ++i) halves[i] = to_bf16(from[i]);
    }
  }
}

// Each value as a row of type f32, f16 or bf16 would hold it.
inline void round_floats(float *values, int64_t count, int32_t dtype) {
  if (dtype == INGOT_F16) {
    for (int64_t i = 0; i < count; ++i) values[i] = from_f16(to_f16(values[i]));
  } else if (dtype == INGOT_BF16) {
    for (int64_t i = 0; i < count; ++i) values[i] = from_bf16(to_bf16(values[i]));
  }
}

}  // namespace ingot
