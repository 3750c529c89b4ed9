#include "runtime/softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ingot {
namespace {

constexpr size_t lanes = 16;  // independent chains: a vector register or more

// exp for x <= 0: 2^n e^r with |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7; 0 below -87.
inline float exponential(float x) {
  constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f, round = 12582912.f;  // 1.5 * 2^23
  const float clamped = x < -87.f ? -87.f : x;
  const float shifted = clamped * log2_e + round;
  const float n = shifted - round;
  const float r = (clamped - n * ln2_high) - n * ln2_low;
  float sum = 1.f / 5040;
  for (const float factor : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) sum = sum * r + factor;
  const int32_t power = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(round) + 127) << 23;
  const float result = sum * std::bit_cast<float>(power);
  return x < -87.f ? 0.f : result;
}

}  // namespace

Extremes extremes(std::span<const float> values) {
  std::array<float, lanes> highest;
  std::array<int32_t, lanes> nan{};
  highest.fill(-std::numeric_limits<float>::infinity());
  const size_t whole = values.size() / lanes * lanes;
  for (size_t i = 0; i < whole; i += lanes) {
    for (size_t k = 0; k < lanes; ++k) {
      const float value = values[i + k];
      highest[k] = value > highest[k] ? value : highest[k];
      nan[k] |= value != value;
    }
  }
  Extremes result{*std::max_element(highest.begin(), highest.end()), *std::max_element(nan.begin(), nan.end()) != 0};
  for (size_t i = whole; i < values.size(); ++i) {
    result.highest = values[i] > result.highest ? values[i] : result.highest;
    result.has_nan |= std::isnan(values[i]);
  }
  return result;
}

double exponentials(std::span<const float> values, float highest, float scale, float *weights) {
  constexpr size_t block = 1024;  // float sums stay short
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += block) {
    const size_t end = std::min(values.size(), begin + block), whole = begin + (end - begin) / lanes * lanes;
    std::array<float, lanes> sums{};
    for (size_t i = begin; i < whole; i += lanes) {
      std::array<float, lanes> part;
      for (size_t k = 0; k < lanes; ++k) part[k] = exponential((values[i + k] - highest) * scale);
      for (size_t k = 0; k < lanes; ++k) sums[k] += part[k];
      if (weights) std::copy(part.begin(), part.end(), weights + i);
    }
    for (const float sum : sums) total += sum;
    for (size_t i = whole; i < end; ++i) {
      const float weight = exponential((values[i] - highest) * scale);
      if (weights) weights[i] = weight;
      total += weight;
    }
  }
  return total;
}

}  // namespace ingot
