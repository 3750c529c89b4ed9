// The functions that gates apply, on floats and without branches, so that compilers make vectors of their loops.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "ops/numbers.h"

namespace ingot {

enum class Activation { silu, gelu, gelu_tanh, relu };

constexpr const char *activation_names[] = {"silu", "gelu", "gelu_tanh", "relu"};  // in the order of Activation

// false: there is none of that name.
inline bool find_activation(const char *name, Activation *found) {
  for (int i = 0; i < 4; ++i) {
    if (std::strcmp(name, activation_names[i]) != 0) continue;
    *found = static_cast<Activation>(i);
    return true;
  }
  return false;
}

// e^x for x <= 0, within 3 units in the last place; 0 below -87.7. Cody and Waite's reduction and the Taylor series,
// which suffices for |r| <= ln(2)/2.
inline float exponential_below(float x) {
  constexpr float magic = 12582912.f;  // 1.5 * 2^23: the sum's last bits are the rounded integer
  x = x < -88.1f ? -88.1f : x;         // a NaN stays one
  const float shifted = x * 1.44269504f + magic, n = shifted - magic;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.f / 5040;
  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  return p * float_of_bits((bits_of(shifted) << 23) + 0x3f800000u);
}

// 1 / (1 + e^-x)
inline float sigmoid(float x) {
  const float e = exponential_below(-std::fabs(x));
  return (x < 0 ? e : 1.f) / (1.f + e);
}

// erfc(z) / 2 for z >= 0; up to z = 3.5 within 2e-6 of itself. Press et al., Numerical Recipes, second edition, section
// 6.2.
inline float half_erfc(float z) {
  constexpr float coefficients[] = {0.17087277f,  -0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f,
                                    -0.18628806f, 0.09678418f,  0.37409196f, 1.00002368f,  -1.26551223f};
  const float t = 1.f / (1.f + 0.5f * z);
  float p = 0;
  for (const float c : coefficients) p = p * t + c;
  return 0.5f * t * exponential_below(p - z * z);
}

template <Activation kind>
inline float activated(float x) {
  if constexpr (kind == Activation::silu) return x * sigmoid(x);
  if constexpr (kind == Activation::gelu) {
    const float far = half_erfc(std::fabs(x) * 0.707106781f);
    return x * (x < 0 ? far : 1.f - far);
  }
  // 0.5 (1 + tanh(u)) = sigmoid(2 u)
  if constexpr (kind == Activation::gelu_tanh) return x * sigmoid(1.59576912f * (x + 0.044715f * x * x * x));
  return x < 0 ? 0.f : x;  // a NaN stays one
}

}  // namespace ingot
