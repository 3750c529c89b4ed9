// What can be said once for all instruction sets, over a type `Lanes` (portable_lanes.h lists what it offers). Lanes
// lives in an anonymous namespace, so every instance made here is private to its file and to the flags that file is
// compiled with.
#pragma once
#include <cstdint>

#include "ingot_op.h"

namespace ingot {

static constexpr int64_t element_bytes(int32_t dtype) {
  return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1;
}

template <class Lanes, int32_t dtype>
inline typename Lanes::Vector read_some(const void *from, int64_t count) {
  alignas(64) unsigned char buffer[Lanes::width * 4] = {};
  __builtin_memcpy(buffer, from, static_cast<size_t>(count * element_bytes(dtype)));
  return Lanes::template read<dtype>(buffer);
}

template <class Lanes, int32_t dtype>
inline void write_some(void *to, typename Lanes::Vector value, int64_t count) {
  alignas(64) unsigned char buffer[Lanes::width * 4];
  Lanes::template write<dtype>(buffer, value);
  __builtin_memcpy(to, buffer, static_cast<size_t>(count * element_bytes(dtype)));
}

template <class Lanes, int32_t from_dtype, int32_t to_dtype>
inline void convert_elements(const void *from, void *to, int64_t count) {
  const auto *source = static_cast<const unsigned char *>(from);
  auto *target = static_cast<unsigned char *>(to);
  constexpr int64_t in = element_bytes(from_dtype), out = element_bytes(to_dtype), width = Lanes::width;
  int64_t i = 0;
  for (; i + width <= count; i += width) {
    Lanes::template write<to_dtype>(target + i * out, Lanes::template read<from_dtype>(source + i * in));
  }
  if (i < count) {
    write_some<Lanes, to_dtype>(target + i * out, read_some<Lanes, from_dtype>(source + i * in, count - i), count - i);
  }
}

template <class Lanes, int32_t to_dtype>
inline void convert_from(const void *from, int32_t dtype, void *to, int64_t count) {
  switch (dtype) {
    case INGOT_F32:
      return convert_elements<Lanes, INGOT_F32, to_dtype>(from, to, count);
    case INGOT_F16:
      return convert_elements<Lanes, INGOT_F16, to_dtype>(from, to, count);
    case INGOT_BF16:
      return convert_elements<Lanes, INGOT_BF16, to_dtype>(from, to, count);
    case INGOT_F8E4M3:
      return convert_elements<Lanes, INGOT_F8E4M3, to_dtype>(from, to, count);
    default:
      return convert_elements<Lanes, INGOT_I8, to_dtype>(from, to, count);
  }
}

// e^x for x <= 0, within 2 units in the last place; 0 below -87.7. Cody and Waite's reduction; the coefficients are
// those of the Taylor series, which suffice for |r| <= ln(2)/2.
template <class Lanes>
inline typename Lanes::Vector exponential(typename Lanes::Vector x) {
  using L = Lanes;
  x = L::max(L::set(-88.1f), x);  // a NaN stays one
  const auto n = L::round(L::mul(x, L::set(1.44269504f)));
  auto r = L::fma(n, L::set(-0.693359375f), x);
  r = L::fma(n, L::set(2.12194440e-4f), r);
  auto p = L::set(1.f / 5040);
  p = L::fma(p, r, L::set(1.f / 720));
  p = L::fma(p, r, L::set(1.f / 120));
  p = L::fma(p, r, L::set(1.f / 24));
  p = L::fma(p, r, L::set(1.f / 6));
  p = L::fma(p, r, L::set(0.5f));
  p = L::fma(p, r, L::set(1.f));
  p = L::fma(p, r, L::set(1.f));
  return L::mul(p, L::power_of_two(n));
}

}  // namespace ingot
