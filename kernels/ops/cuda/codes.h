// A row as 8-bit codes with one scale, max(largest magnitude / largest code, 1e-12), as ops/ingot/quantize_row.h says.
#pragma once
#include "ops/cuda/row.h"

namespace ingot {

__device__ inline float scale_of_codes(float largest, int32_t codes) {
  constexpr float smallest = 1e-12f;
  const float wanted = __fdiv_rn(largest, codes == INGOT_I8 ? 127.f : 448.f);
  return wanted <= smallest ? smallest : wanted;
}

__device__ inline uint8_t code_of(float x, int32_t codes) {
  return codes == INGOT_I8 ? static_cast<uint8_t>(to_i8(x)) : to_e4m3(x);
}

// Codes of vector i of a row.
template <class X>
__device__ inline void store_codes(const Vector<X> &vector, const Divisor &scale, int32_t codes, uint8_t *row, int i) {
  constexpr int size = Vector<X>::size;
  float x[size];
  to_floats(vector, x);
  uint32_t packed[size / 4];
#pragma unroll
  for (int k = 0; k < size; ++k) x[k] = scale(x[k]);
#pragma unroll
  for (int k = 0; k < size / 4; ++k) {
    const float *four = x + 4 * k;
    if (codes == INGOT_I8) {
      packed[k] = static_cast<uint8_t>(to_i8(four[0])) | static_cast<uint8_t>(to_i8(four[1])) << 8 |
                  static_cast<uint8_t>(to_i8(four[2])) << 16 |
                  static_cast<uint32_t>(static_cast<uint8_t>(to_i8(four[3]))) << 24;
    } else {
      packed[k] = to_e4m3(four[0], four[1]) | static_cast<uint32_t>(to_e4m3(four[2], four[3])) << 16;
    }
  }
  if constexpr (size == 8) reinterpret_cast<uint2 *>(row)[i] = uint2{packed[0], packed[1]};
  if constexpr (size == 4) reinterpret_cast<uint32_t *>(row)[i] = packed[0];
}

// Writes the codes of a row whose vectors are in registers, and its scale; `given`: a largest magnitude that was found
// elsewhere.
template <class X, int vectors>
__device__ inline void quantize_row(const Vector<X> (&row)[vectors], int count, int32_t codes, uint8_t *to,
                                    float *scale, uint32_t (&parts)[most_warps], const float *given = nullptr) {
  uint32_t mine = 0;
#pragma unroll
  for (int i = 0; i < vectors; ++i) mine = largest_of_vector(row[i], mine);
  const float size = scale_of_codes(given ? *given : largest_of_row(mine, parts), codes);
  if (threadIdx.x == 0) *scale = size;
  const Divisor by(size);
#pragma unroll
  for (int i = 0; i < vectors; ++i) {
    if (place_of_vector(i) < count) store_codes(row[i], by, codes, to, place_of_vector(i));
  }
}

}  // namespace ingot
