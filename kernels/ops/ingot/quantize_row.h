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

// To the nearest, ties to even; NaN becomes 0. |x| is at most 127, or so little more that it rounds to 127.
inline int8_t i8_of_float(float x) {
  constexpr float magic = 12582912.f;  // 1.5 * 2^23: the sum's last bits are the rounded integer
  const uint32_t number = x == x ? 0xffu : 0u;
  return static_cast<int8_t>(bits_of(x + magic) & number);
}

// The largest magnitude of `count` values, NaN above all. fill(first, count, float *) makes a piece of them.
template <class Fill>
float largest_of_row(const Fill &fill, int64_t count, float *values) {
  int32_t largest = 0;  // as bits: magnitudes order like integers
  each_piece(count, [&](int64_t first, int64_t n) {
    fill(first, n, values);
    int32_t top = largest;
    for (int64_t i = 0; i < n; ++i) top = std::max(top, static_cast<int32_t>(bits_of(values[i]) & 0x7fffffffu));
    largest = top;
  });
  return float_of_bits(static_cast<uint32_t>(largest));
}

// Writes the codes of `count` values and returns their scale: that of `given`, a largest magnitude found elsewhere, or
// of their own. fill is asked twice for each piece of a row that has several.
template <class Fill>
float quantize_row(const Fill &fill, int64_t count, int32_t dtype, void *codes, const float *given = nullptr) {
  float values[piece_size];
  const float wanted = (given ? *given : largest_of_row(fill, count, values)) / largest_code(dtype);
  const float scale = wanted <= smallest_scale ? smallest_scale : wanted;
  each_piece(count, [&](int64_t first, int64_t n) {
    if (given || count > piece_size) fill(first, n, values);
    if (dtype == INGOT_I8) {
      auto *to = static_cast<int8_t *>(codes) + first;
      for (int64_t i = 0; i < n; ++i) to[i] = i8_of_float(values[i] / scale);
    } else {
      auto *to = static_cast<uint8_t *>(codes) + first;
      for (int64_t i = 0; i < n; ++i) to[i] = to_e4m3(values[i] / scale);
    }
  });
  return scale;
}

}  // namespace ingot
