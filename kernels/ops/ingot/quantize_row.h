// One token's values as 8-bit codes with one scale: max(largest magnitude / largest code, 1e-12).
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/dtype.h"
#include "ops/ingot/float_row.h"

namespace ingot {

constexpr float smallest_scale = 1e-12f;
constexpr float largest_code(int32_t dtype) { return dtype == INGOT_I8 ? 127.f : 448.f; }

// 0, or an error: codes are f8e4m3 or i8.
inline int check_codes(int64_t dtype, IngotCtx *ctx) {
  if (dtype == INGOT_F8E4M3 || dtype == INGOT_I8) return 0;
  return ctx->host->error(ctx, "attribute dtype is %s; codes are f8e4m3 or i8",
                          dtype_name(static_cast<int32_t>(dtype)));
}

// To the nearest, ties to even; beyond the largest: the largest; NaN stays NaN.
inline uint8_t e4m3_of_float(float x) {
  const uint32_t size = bits_of(x) & 0x7fffffffu, sign = (bits_of(x) >> 24) & 0x80u;
  const uint32_t normal = (size - 0x3c000000u + 0x7ffffu + ((size >> 20) & 1u)) >> 20;
  const uint32_t small = bits_of(float_of_bits(size) + 16384.f) - bits_of(16384.f);
  uint32_t code = size < 0x3c800000u ? small : normal;
  code = size >= 0x43e00000u ? 0x7eu : code;
  code = size > 0x7f800000u ? 0x7fu : code;
  return static_cast<uint8_t>(sign | code);
}

// To the nearest, ties to even; saturated to -128 … 127; NaN becomes 0.
inline int8_t i8_of_float(float x) {
  constexpr float magic = 12582912.f;  // 1.5 * 2^23: the sum's last bits are the rounded integer
  float clamped = x == x ? x : 0.f;
  clamped = clamped > 127.f ? 127.f : clamped;
  clamped = clamped < -128.f ? -128.f : clamped;
  return static_cast<int8_t>(bits_of(clamped + magic) & 0xffu);
}

// Writes the codes of `count` values and returns their scale. fill(first, count, float *) makes a piece of the values
// and is asked twice for each of a row that has several.
template <class Fill>
float quantize_row(const Fill &fill, int64_t count, int32_t dtype, void *codes) {
  float values[piece_size];
  int32_t largest = 0;  // as bits: magnitudes order like integers, NaN above all
  each_piece(count, [&](int64_t first, int64_t n) {
    fill(first, n, values);
    int32_t top = largest;
    for (int64_t i = 0; i < n; ++i) top = std::max(top, static_cast<int32_t>(bits_of(values[i]) & 0x7fffffffu));
    largest = top;
  });
  const float wanted = float_of_bits(static_cast<uint32_t>(largest)) / largest_code(dtype);
  const float scale = wanted <= smallest_scale ? smallest_scale : wanted;
  each_piece(count, [&](int64_t first, int64_t n) {
    if (count > piece_size) fill(first, n, values);
    if (dtype == INGOT_I8) {
      auto *to = static_cast<int8_t *>(codes) + first;
      for (int64_t i = 0; i < n; ++i) to[i] = i8_of_float(values[i] / scale);
    } else {
      auto *to = static_cast<uint8_t *>(codes) + first;
      for (int64_t i = 0; i < n; ++i) to[i] = e4m3_of_float(values[i] / scale);
    }
  });
  return scale;
}

}  // namespace ingot
