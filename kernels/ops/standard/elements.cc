#include "ops/standard/elements.h"

#include <algorithm>
#include <array>

namespace ingot::standard {
namespace {

// from_f16 without branches: the exponent is moved by a product, which is exact for subnormal numbers as well.
inline float half(uint16_t code) {
  const uint32_t size = static_cast<uint32_t>(code & 0x7fffu) << 13, sign = static_cast<uint32_t>(code & 0x8000u) << 16;
  const uint32_t number = bits_of(float_of_bits(size) * 0x1p112f);
  const uint32_t beyond = size | 0x7f800000u;  // infinity and NaN
  return float_of_bits(sign | (size >= 0x0f800000u ? beyond : number));
}

using Table = std::array<float, 256>;

template <float (*convert)(uint8_t)>
const Table &table() {
  static const Table values = [] {
    Table made;
    for (int i = 0; i < 256; ++i) made[static_cast<size_t>(i)] = convert(static_cast<uint8_t>(i));
    return made;
  }();
  return values;
}

template <class Stored, class Number, class Convert>
void read_all(const void *data, int64_t first, int64_t count, Number *x, Convert convert) {
  const auto *from = static_cast<const Stored *>(data) + first;
  for (int64_t i = 0; i < count; ++i) x[i] = convert(from[i]);
}

template <class Stored, class Number, class Convert>
void write_all(void *data, int64_t first, int64_t count, const Number *x, Convert convert) {
  auto *to = static_cast<Stored *>(data) + first;
  for (int64_t i = 0; i < count; ++i) to[i] = convert(x[i]);
}

template <class Number>
void read_integers(const void *data, int32_t dtype, int64_t first, int64_t count, Number *x) {
  const auto number = [](auto code) { return static_cast<Number>(code); };
  switch (dtype) {
    case INGOT_I8:
      return read_all<int8_t>(data, first, count, x, number);
    case INGOT_U8:
    case INGOT_BOOL:
      return read_all<uint8_t>(data, first, count, x, number);
    case INGOT_I32:
      return read_all<int32_t>(data, first, count, x, number);
    case INGOT_I64:
      return read_all<int64_t>(data, first, count, x, number);
    case INGOT_U4:
      for (int64_t i = 0; i < count; ++i) x[i] = number(four_bits(data, first + i));
      return;
    default:
      for (int64_t i = 0; i < count; ++i) x[i] = number((four_bits(data, first + i) ^ 8) - 8);
  }
}

}  // namespace

void read_elements(const void *data, int32_t dtype, int64_t first, int64_t step, int64_t count, float *x) {
  if (step == 0) return void(std::fill_n(x, count, read_float(data, dtype, first)));
  if (step != 1) {
    for (int64_t i = 0; i < count; ++i) x[i] = read_float(data, dtype, first + i * step);
    return;
  }
  switch (dtype) {
    case INGOT_F32:
      return read_all<float>(data, first, count, x, [](float code) { return code; });
    case INGOT_F16:
      return read_all<uint16_t>(data, first, count, x, half);
    case INGOT_BF16:
      return read_all<uint16_t>(data, first, count, x, from_bf16);
    case INGOT_F8E4M3:
      return read_all<uint8_t>(data, first, count, x,
                               [&values = table<from_e4m3>()](uint8_t code) { return values[code]; });
    case INGOT_F8E5M2:
      return read_all<uint8_t>(data, first, count, x,
                               [&values = table<from_e5m2>()](uint8_t code) { return values[code]; });
    default:
      read_integers(data, dtype, first, count, x);
  }
}

void read_elements(const void *data, int32_t dtype, int64_t first, int64_t step, int64_t count, int64_t *x) {
  if (step == 0) return void(std::fill_n(x, count, read_integer(data, dtype, first)));
  if (step != 1) {
    for (int64_t i = 0; i < count; ++i) x[i] = read_integer(data, dtype, first + i * step);
    return;
  }
  read_integers(data, dtype, first, count, x);
}

void write_elements(void *data, int32_t dtype, int64_t first, int64_t count, const float *x, bool saturate) {
  switch (dtype) {
    case INGOT_F32:
      return write_all<float>(data, first, count, x, [](float number) { return number; });
    case INGOT_F16:
      return write_all<uint16_t>(data, first, count, x, to_f16);
    case INGOT_BF16:
      return write_all<uint16_t>(data, first, count, x, to_bf16);
    case INGOT_F8E4M3:
      return write_all<uint8_t>(data, first, count, x, [=](float number) { return to_e4m3(number, saturate); });
    case INGOT_F8E5M2:
      return write_all<uint8_t>(data, first, count, x, [=](float number) { return to_e5m2(number, saturate); });
    default:
      for (int64_t i = 0; i < count; ++i) write_float(data, dtype, first + i, x[i], saturate);
  }
}

void write_elements(void *data, int32_t dtype, int64_t first, int64_t count, const int64_t *x, bool) {
  switch (dtype) {
    case INGOT_I8:
    case INGOT_U8:
      return write_all<uint8_t>(data, first, count, x, [](int64_t number) { return static_cast<uint8_t>(number); });
    case INGOT_BOOL:
      return write_all<uint8_t>(data, first, count, x, [](int64_t number) { return uint8_t{number != 0}; });
    case INGOT_I32:
      return write_all<int32_t>(data, first, count, x, [](int64_t number) { return static_cast<int32_t>(number); });
    case INGOT_I64:
      return write_all<int64_t>(data, first, count, x, [](int64_t number) { return number; });
    default:
      for (int64_t i = 0; i < count; ++i) write_integer(data, dtype, first + i, x[i]);
  }
}

}  // namespace ingot::standard
