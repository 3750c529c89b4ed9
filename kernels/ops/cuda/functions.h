// The functions of elementwise ops, on floats and on integers, as ops/standard/elementwise_*.cc and others define them.
#pragma once
#include <cstdint>

#include "ops/cuda/activation.h"

namespace ingot {

enum class Function : int32_t {
  // of two
  add,
  sub,
  mul,
  div,
  mod,
  rest,
  pow,
  bit_and,
  bit_or,
  bit_xor,
  shift_left,
  shift_right,
  min,
  max,
  equal,
  less,
  less_or_equal,
  greater,
  greater_or_equal,
  both,
  either,
  one_of,
  // of three
  where,
  clip,
  // of one
  neg,
  abs,
  sign,
  sqrt,
  reciprocal,
  exp,
  log,
  sin,
  cos,
  tanh,
  sigmoid,
  erf,
  relu,
  leaky_relu,
  gelu,
  gelu_tanh,
  swish,
  softplus,
  floor,
  ceil,
  round,
  is_nan,
  negation,
  bit_not
};

__device__ inline float smaller(float a, float b) { return b < a || b != b ? b : a; }  // NaN wins
__device__ inline float larger(float a, float b) { return b > a || b != b ? b : a; }

// alpha: of leaky_relu and swish.
__device__ inline float of_floats(Function function, float a, float b, float c, float alpha) {
  switch (function) {
    case Function::add:
      return a + b;
    case Function::sub:
      return a - b;
    case Function::mul:
      return a * b;
    case Function::div:
      return __fdiv_rn(a, b);
    case Function::rest:
      return fmodf(a, b);
    case Function::pow:
      return powf(a, b);
    case Function::min:
      return smaller(a, b);
    case Function::max:
      return larger(a, b);
    case Function::equal:
      return a == b;
    case Function::less:
      return a < b;
    case Function::less_or_equal:
      return a <= b;
    case Function::greater:
      return a > b;
    case Function::greater_or_equal:
      return a >= b;
    case Function::where:
      return a != 0 ? b : c;
    case Function::clip:
      return smaller(larger(a, b), c);
    case Function::neg:
      return -a;
    case Function::abs:
      return fabsf(a);
    case Function::sign:
      return a > 0 ? 1.f : a < 0 ? -1.f : a;  // NaN and zeros stay
    case Function::sqrt:
      return __fsqrt_rn(a);
    case Function::reciprocal:
      return __fdiv_rn(1.f, a);
    case Function::exp:
      return expf(a);
    case Function::log:
      return logf(a);
    case Function::sin:
      return sinf(a);
    case Function::cos:
      return cosf(a);
    case Function::tanh:
      return tanhf(a);
    case Function::sigmoid:
      return sigmoid_of(a);
    case Function::erf:
      return erff(a);
    case Function::relu:
      return a < 0 ? 0.f : a;
    case Function::leaky_relu:
      return a < 0 ? alpha * a : a;
    case Function::gelu:
      return gelu_of(a);
    case Function::gelu_tanh:
      return gelu_tanh_of(a);
    case Function::swish:
      return a * sigmoid_of(alpha * a);
    case Function::softplus:
      return fmaxf(a, 0.f) + log1pf(expf(-fabsf(a)));
    case Function::floor:
      return floorf(a);
    case Function::ceil:
      return ceilf(a);
    case Function::round:
      return rintf(a);
    case Function::is_nan:
      return a != a;
    default:
      return a;
  }
}

__device__ inline int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
  uint64_t power = 1, square = static_cast<uint64_t>(base);
  for (; exponent; exponent >>= 1, square *= square) {
    if (exponent & 1) power *= square;
  }
  return static_cast<int64_t>(power);
}

// Integers lose the bits that their type does not have, as in two's complement.
__device__ inline int64_t of_integers(Function function, int64_t a, int64_t b, int64_t c) {
  const auto x = static_cast<uint64_t>(a), y = static_cast<uint64_t>(b);
  switch (function) {
    case Function::add:
      return static_cast<int64_t>(x + y);
    case Function::sub:
      return static_cast<int64_t>(x - y);
    case Function::mul:
      return static_cast<int64_t>(x * y);
    case Function::div:  // toward zero; 0 where ONNX defines nothing
      return b == 0 ? 0 : b == -1 ? static_cast<int64_t>(0 - x) : a / b;
    case Function::mod: {  // the sign of the divisor
      if (b == 0 || b == -1) return 0;
      const int64_t rest = a % b;
      return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    }
    case Function::rest:
      return b == 0 || b == -1 ? 0 : a % b;
    case Function::pow:
      return integer_power(a, b);
    case Function::bit_and:
      return a & b;
    case Function::bit_or:
      return a | b;
    case Function::bit_xor:
      return a ^ b;
    case Function::shift_left:
      return b > 7 ? 0 : a << b;
    case Function::shift_right:
      return b > 7 ? 0 : a >> b;
    case Function::min:
      return b < a ? b : a;
    case Function::max:
      return b > a ? b : a;
    case Function::equal:
      return a == b;
    case Function::less:
      return a < b;
    case Function::less_or_equal:
      return a <= b;
    case Function::greater:
      return a > b;
    case Function::greater_or_equal:
      return a >= b;
    case Function::both:
      return a != 0 && b != 0;
    case Function::either:
      return a != 0 || b != 0;
    case Function::one_of:
      return (a != 0) != (b != 0);
    case Function::where:
      return a != 0 ? b : c;
    case Function::clip: {
      const int64_t low = b > a ? b : a;
      return c < low ? c : low;
    }
    case Function::neg:
      return static_cast<int64_t>(0 - x);
    case Function::abs:
      return a < 0 ? static_cast<int64_t>(0 - x) : a;
    case Function::sign:
      return (a > 0) - (a < 0);
    case Function::relu:
      return a < 0 ? 0 : a;
    case Function::negation:
      return a == 0;
    case Function::bit_not:
      return ~a;
    default:
      return a;
  }
}

}  // namespace ingot
