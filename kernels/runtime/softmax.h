// Sums of exponentials over a vocabulary, written so that compilers vectorise them without relaxed arithmetic.
#pragma once
#include <cstdint>
#include <span>

namespace ingot {

struct Extremes {
  float highest;
  bool has_nan;
  int32_t at;  // the first place of the highest
};
Extremes extremes(std::span<const float> values);

// weights[i] = exp((values[i] - highest) * scale) for every i; returns their sum. weights may be NULL, or values.
// Relative error below 1e-6 down to weights of 1e-30; what is below 2e-38 is 0.
double exponentials(std::span<const float> values, float highest, float scale, float *weights);

}  // namespace ingot
