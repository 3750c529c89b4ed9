// One token's root mean square norm, as ONNX's RMSNormalization with stash_type 1 defines it: the quotient x / rms is
// made in float32 and rounded to x's type, and so is its product with the weight.
#pragma once
#include <cmath>
#include <cstdint>

#include "ops/ingot/float_row.h"

namespace ingot {

// sqrt(mean of squares + epsilon) of D elements from `first` on. 16 partial sums walk along the row and are summed up
// by one tree, whatever stands beside it.
inline float root_mean_square(const void *x, int32_t dtype, int64_t first, int64_t D, float epsilon) {
  constexpr int64_t width = 16;
  float values[piece_size], sums[width] = {};
  each_piece(D, [&](int64_t d, int64_t n) {
    read_floats(x, dtype, first + d, n, values);
    const int64_t rest = n % width;
    if (rest) std::fill_n(values + n, width - rest, 0.f);
    for (int64_t i = 0; i < n; i += width) {
      for (int64_t j = 0; j < width; ++j) sums[j] += values[i + j] * values[i + j];
    }
  });
  for (int64_t half = width / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return std::sqrt(sums[0] / static_cast<float>(D) + epsilon);
}

// Fills pieces of the normalized row, rounded to its type.
struct RmsNormRow {
  const void *x;
  int32_t dtype;
  int64_t first;  // where the row begins in x
  const void *weight_D;
  float rms;

  void operator()(int64_t d, int64_t count, float *to) const {
    float weight[piece_size];
    read_floats(x, dtype, first + d, count, to);
    read_floats(weight_D, dtype, d, count, weight);
    for (int64_t i = 0; i < count; ++i) to[i] /= rms;
    round_floats(to, count, dtype);
    for (int64_t i = 0; i < count; ++i) to[i] *= weight[i];
    round_floats(to, count, dtype);
  }
};

}  // namespace ingot
