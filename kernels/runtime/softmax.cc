#include "runtime/softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ingot {
namespace {

constexpr size_t lanes = 16;    // independent chains: a vector register or more
constexpr size_t block = 1024;  // float sums stay short
constexpr float lowest = -87;   // e^lowest is still a normal number

// e^x for x <= 0, not below e^lowest: 2^n e^r with |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7.
inline float exponential(float x) {
  constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f,
                  round = 12582912.f;  // 1.5 * 2^23
  const float clamped = x > lowest ? x : lowest;
  const float shifted = clamped * log2_e + round;
  const float n = shifted - round;
  const float r = (clamped - n * ln2_high) - n * ln2_low;
  float sum = 1.f / 5040;
  sum = sum * r + 1.f / 720;
  sum = sum * r + 1.f / 120;
  sum = sum * r + 1.f / 24;
  sum = sum * r + 1.f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.f;
  sum = sum * r + 1.f;
  const int32_t power = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(round) + 127) << 23;
  return sum * std::bit_cast<float>(power);
}

double sum_of(const float *values, size_t count) {
  std::array<float, lanes> sums{};
  const size_t whole = count / lanes * lanes;
  for (size_t i = 0; i < whole; i += lanes) {
    for (size_t k = 0; k < lanes; ++k) sums[k] += values[i + k];
  }
  double total = 0;
  for (const float sum : sums) total += sum;
  for (size_t i = whole; i < count; ++i) total += values[i];
  return total;
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
  const float nothing = exponential(lowest);  // taken off, so that an impossible token weighs exactly 0
  float part[block];
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += block) {
    const size_t count = std::min(block, values.size() - begin);
    const float *from = values.data() + begin;
    for (size_t i = 0; i < count; ++i) part[i] = exponential((from[i] - highest) * scale) - nothing;
    if (weights) std::copy_n(part, count, weights + begin);
    total += sum_of(part, count);
  }
  return total;
}

}  // namespace ingot
