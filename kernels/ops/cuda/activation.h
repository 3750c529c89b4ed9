// The functions that gates and elementwise ops apply, in float32.
#pragma once
#include <cstdint>

namespace ingot {

enum class Activation : int32_t { silu, gelu, gelu_tanh, relu };

// 1 / (1 + e^-x); no exponential of it overflows.
__device__ inline float sigmoid_of(float x) {
  const float e = expf(-fabsf(x));
  return __fdividef(x < 0 ? e : 1.f, 1.f + e);
}

__device__ inline float gelu_of(float x) { return 0.5f * x * erfcf(-0.70710678118f * x); }

// 0.5 (1 + tanh(u)) = sigmoid(2 u)
__device__ inline float gelu_tanh_of(float x) { return x * sigmoid_of(1.59576912f * (x + 0.044715f * x * x * x)); }

__device__ inline float activated(Activation kind, float x) {
  switch (kind) {
    case Activation::silu:
      return x * sigmoid_of(x);
    case Activation::gelu:
      return gelu_of(x);
    case Activation::gelu_tanh:
      return gelu_tanh_of(x);
    default:
      return x < 0 ? 0.f : x;  // a NaN stays one
  }
}

}  // namespace ingot
