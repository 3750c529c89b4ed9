// Four floats at a time in the compilers' vector extension: SSE2 and NEON alike. Included by the *_portable.cc files
// only.
#pragma once
#include <cstdint>

#include "ingot_op.h"

namespace ingot {
namespace {

struct CodeValues {
  float of[256];
  constexpr float operator[](int code) const { return of[code]; }
};

constexpr CodeValues f8e4m3_values() {
  CodeValues values{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    float value = exponent ? 0x1p-6f * static_cast<float>(8 + mantissa) / 8 : 0x1p-9f * static_cast<float>(mantissa);
    for (int i = 1; i < exponent; ++i) value *= 2;
    if ((code & 127) == 127) value = __builtin_nanf("");
    values.of[code] = code & 128 ? -value : value;
  }
  return values;
}

constexpr CodeValues f8e4m3 = f8e4m3_values();

struct PortableLanes {
  typedef float Vector __attribute__((vector_size(16)));
  typedef uint32_t Words __attribute__((vector_size(16)));
  typedef int32_t Integers __attribute__((vector_size(16)));
  static constexpr int width = 4;
  static constexpr int tile_tokens = 2;  // tile_tokens x 4 sums fit the registers

  static Vector zero() { return Vector{}; }
  static Vector set(float x) { return Vector{x, x, x, x}; }
  static Vector load(const float *p) { return copy<Vector>(p); }
  static void store(float *p, Vector x) { __builtin_memcpy(p, &x, sizeof x); }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector sub(Vector a, Vector b) { return a - b; }
  static Vector mul(Vector a, Vector b) { return a * b; }
  static Vector div(Vector a, Vector b) { return a / b; }
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  // The larger of each; b where one is NaN.
  static Vector max(Vector a, Vector b) { return select(a > b, a, b); }
  static Vector magnitude(Vector a) { return reinterpret_cast<Vector>(bits(a) & 0x7fffffffu); }
  static Vector with_sign(Vector a, Vector sign) {
    return reinterpret_cast<Vector>(bits(a) | (bits(sign) & 0x80000000u));
  }

  // To the nearest integer, for |x| < 2^22.
  static Vector round(Vector x) {
    const Vector magic = set(12582912.f);  // 1.5 * 2^23
    return (x + magic) - magic;
  }
  // 2^n for integers -127 <= n <= 127; 2^-127 counts as 0.
  static Vector power_of_two(Vector n) {
    return reinterpret_cast<Vector>((__builtin_convertvector(n, Integers) + 127) << 23);
  }

  // The sums of four vectors, each by the same tree.
  static void sum4(Vector a, Vector b, Vector c, Vector d, float *out) {
    out[0] = sum(a);
    out[1] = sum(b);
    out[2] = sum(c);
    out[3] = sum(d);
  }
  static float sum(Vector a) { return (a[0] + a[2]) + (a[1] + a[3]); }
  static float largest(Vector a) {
    const float x = a[0] > a[2] ? a[0] : a[2], y = a[1] > a[3] ? a[1] : a[3];
    return x > y ? x : y;
  }

  template <int32_t dtype>
  static Vector read(const void *p) {
    if constexpr (dtype == INGOT_F32) {
      return copy<Vector>(p);
    } else if constexpr (dtype == INGOT_F16) {
      return from_f16(halves(p));
    } else if constexpr (dtype == INGOT_BF16) {
      return reinterpret_cast<Vector>(halves(p) << 16);
    } else if constexpr (dtype == INGOT_F8E4M3) {
      const auto *code = static_cast<const uint8_t *>(p);
      return Vector{f8e4m3[code[0]], f8e4m3[code[1]], f8e4m3[code[2]], f8e4m3[code[3]]};
    } else {
      return __builtin_convertvector((reinterpret_cast<Integers>(octets(p)) ^ 128) - 128, Vector);
    }
  }

  template <int32_t dtype>
  static void write(void *p, Vector x) {
    if constexpr (dtype == INGOT_F32) {
      __builtin_memcpy(p, &x, sizeof x);
    } else {
      typedef uint16_t Halves __attribute__((vector_size(8)));
      const Halves narrow = __builtin_convertvector(dtype == INGOT_F16 ? to_f16(x) : to_bf16(x), Halves);
      __builtin_memcpy(p, &narrow, sizeof narrow);
    }
  }

 private:
  template <class T>
  static T copy(const void *p) {
    T value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
  }
  static Words halves(const void *p) {
    typedef uint16_t Halves __attribute__((vector_size(8)));
    return __builtin_convertvector(copy<Halves>(p), Words);
  }
  static Words octets(const void *p) {
    typedef uint8_t Octets __attribute__((vector_size(4)));
    return __builtin_convertvector(copy<Octets>(p), Words);
  }
  static Words bits(Vector x) { return reinterpret_cast<Words>(x); }
  static Vector select(Integers yes, Vector a, Vector b) {
    const Words mask = reinterpret_cast<Words>(yes);
    return reinterpret_cast<Vector>((bits(a) & mask) | (bits(b) & ~mask));
  }

  // A smaller format's exponent and mantissa stand where a float's do; a product with a power of two puts the
  // exponent right, subnormal numbers included.
  static Vector from_f16(Words h) {
    const Words magnitude = (h & 0x7fffu) << 13;
    const Vector value = reinterpret_cast<Vector>(magnitude) * set(0x1p112f);
    const Words infinite = reinterpret_cast<Words>(magnitude >= 0x0f800000u) & 0x7f800000u;
    return reinterpret_cast<Vector>(bits(value) | infinite | (h & 0x8000u) << 16);
  }
  static Words to_bf16(Vector x) {
    const Words u = bits(x), nan = reinterpret_cast<Words>((u & 0x7fffffffu) > 0x7f800000u);
    const Words rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (rounded & ~nan) | (((u >> 16) | 0x40u) & nan);
  }
  // Normal numbers round in integers; subnormal ones by an addition that shifts their last bit to a float's last bit.
  static Words to_f16(Vector x) {
    const Words u = bits(x) & 0x7fffffffu, sign = (bits(x) >> 16) & 0x8000u;
    const Words normal = (u - 0x38000000u + 0xfffu + ((u >> 13) & 1u)) >> 13;
    const Words small = bits(reinterpret_cast<Vector>(u) + set(0.5f)) - 0x3f000000u;
    const Words is_small = reinterpret_cast<Words>(u < 0x38800000u);
    const Words is_large = reinterpret_cast<Words>(u >= 0x477ff000u);
    const Words is_nan = reinterpret_cast<Words>(u > 0x7f800000u);
    Words h = (small & is_small) | (normal & ~is_small);
    h = (h & ~is_large) | (0x7c00u & is_large);
    return sign | h | (0x200u & is_nan);
  }
};

}  // namespace
}  // namespace ingot
