#include "runtime/softmax.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace ingot {
namespace {

// Vectors of 16 bytes, which every CPU has: compilers do not vectorise a maximum that must not lose a NaN.
using Floats [[gnu::vector_size(16)]] = float;
using Integers [[gnu::vector_size(16)]] = int32_t;
constexpr size_t width = 4, chains = 4;  // independent chains of vectors
constexpr size_t block = 1024;           // float sums stay short
constexpr float lowest = -87;            // e^lowest is still a normal number

// e^x for x <= 0, not below e^lowest: 2^n e^r with |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7.
inline Floats exponential(Floats x) {
  constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f,
                  round = 12582912.f;  // 1.5 * 2^23
  const Floats clamped = x > lowest ? x : Floats{} + lowest;
  const Floats shifted = clamped * log2_e + round;
  const Floats n = shifted - round;
  const Floats r = (clamped - n * ln2_high) - n * ln2_low;
  Floats sum = Floats{} + 1.f / 5040;
  sum = sum * r + 1.f / 720;
  sum = sum * r + 1.f / 120;
  sum = sum * r + 1.f / 24;
  sum = sum * r + 1.f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.f;
  sum = sum * r + 1.f;
  const Integers power = (std::bit_cast<Integers>(shifted) - std::bit_cast<int32_t>(round) + 127) << 23;
  return sum * std::bit_cast<Floats>(power);
}

// Of one block, without the place.
Extremes extremes_of(std::span<const float> values) {
  Floats highest[chains];
  Integers nan[chains] = {};
  for (Floats &lane : highest) lane = Floats{} - std::numeric_limits<float>::infinity();
  const size_t whole = values.size() / (chains * width) * (chains * width);
  for (size_t i = 0; i < whole; i += chains * width) {
    for (size_t k = 0; k < chains; ++k) {
      Floats value;
      std::memcpy(&value, values.data() + i + k * width, sizeof value);
      highest[k] = value > highest[k] ? value : highest[k];
      nan[k] |= value != value;
    }
  }
  Extremes result{-std::numeric_limits<float>::infinity(), false, 0};
  for (size_t i = 0; i < chains * width; ++i) {
    result.highest = std::max(result.highest, highest[i / width][i % width]);
    result.has_nan |= nan[i / width][i % width] != 0;
  }
  for (size_t i = whole; i < values.size(); ++i) {
    result.highest = values[i] > result.highest ? values[i] : result.highest;
    result.has_nan |= std::isnan(values[i]);
  }
  return result;
}

}  // namespace

Extremes extremes(std::span<const float> values) {
  Extremes result{-std::numeric_limits<float>::infinity(), false, 0};
  size_t within = 0;  // the block whose highest is the first of all
  for (size_t begin = 0; begin < values.size(); begin += block) {
    const Extremes part = extremes_of(values.subspan(begin, std::min(block, values.size() - begin)));
    result.has_nan |= part.has_nan;
    if (part.highest > result.highest) {
      result.highest = part.highest;
      within = begin;
    }
  }
  const auto from = values.begin() + static_cast<ptrdiff_t>(within);
  result.at = static_cast<int32_t>(std::find(from, values.end(), result.highest) - values.begin());
  return result;
}

double exponentials(std::span<const float> values, float highest, float scale, float *weights) {
  constexpr size_t stride = chains * width;
  const Floats nothing = exponential(Floats{} + lowest);  // taken off, so that an impossible token weighs exactly 0
  double total = 0;
  for (size_t begin = 0; begin < values.size(); begin += block) {
    const size_t count = std::min(block, values.size() - begin);
    Floats sums[chains] = {};
    for (size_t i = 0; i < count; i += stride) {
      const size_t bytes = std::min(stride, count - i) * sizeof(float);
      Floats part[chains];
      for (Floats &lane : part) lane = Floats{} - std::numeric_limits<float>::infinity();  // weighs nothing
      std::memcpy(part, values.data() + begin + i, bytes);
      for (size_t k = 0; k < chains; ++k) {
        part[k] = exponential((part[k] - highest) * scale) - nothing;
        sums[k] += part[k];
      }
      if (weights) std::memcpy(weights + begin + i, part, bytes);
    }
    for (size_t i = 0; i < stride; ++i) total += sums[i / width][i % width];
  }
  return total;
}

}  // namespace ingot
