// Reading codes of 4 and 8 bits, scales and zero points, for any instruction set.
#pragma once
#include <cstdint>

#include "ops/cpu/grouped_product.h"
#include "ops/cpu/lane_math.h"

namespace ingot {
namespace {

// Elements first … first + count - 1 of codes, as floats. Of 4-bit codes, the even element is the low half of a byte.
template <class L>
inline void read_codes(const void *codes, int32_t dtype, int64_t first, int64_t count, float *to) {
  const auto *bytes = static_cast<const unsigned char *>(codes);
  if (!is_half_byte(dtype)) return convert_from<L, INGOT_F32>(bytes + first, INGOT_I8, to, count);
  // A signed half x lies there as x & 15, and (x & 15 ^ 8) - 8 is x again.
  const int flip = dtype == INGOT_I4 ? 8 : 0;
  int64_t i = 0;
  if (first % 2 && count > 0) {
    to[0] = static_cast<float>((bytes[first / 2] >> 4 ^ flip) - flip);
    i = 1;
  }
  const unsigned char *pairs = bytes + (first + i) / 2;
  const int64_t whole = (count - i) / 2;
  float *target = to + i;
  for (int64_t k = 0; k < whole; ++k) {
    target[2 * k] = static_cast<float>(((pairs[k] & 15) ^ flip) - flip);
    target[2 * k + 1] = static_cast<float>((pairs[k] >> 4 ^ flip) - flip);
  }
  if (i + 2 * whole < count) to[count - 1] = static_cast<float>(((pairs[whole] & 15) ^ flip) - flip);
}

}  // namespace
}  // namespace ingot
