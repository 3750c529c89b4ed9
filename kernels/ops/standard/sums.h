// Sums of many floats: in 16 parts, so that they are quick and exact enough, in one order for one length.
#pragma once
#include <cstdint>

namespace ingot::standard {

class Sum {
 public:
  // Adds value(x[i]) for all i. Blocks before the last hold a multiple of 16 numbers.
  template <class Value>
  void add(const float *x, int64_t count, const Value &value) {
    int64_t i = 0;
    for (; i + parts <= count; i += parts) {
      for (int64_t k = 0; k < parts; ++k) part_[k] += value(x[i + k]);
    }
    for (int64_t k = 0; i < count; ++i, ++k) part_[k] += value(x[i]);
  }

  float value() const {
    float sum[parts];
    for (int64_t k = 0; k < parts; ++k) sum[k] = part_[k];
    for (int64_t half = parts / 2; half; half /= 2) {
      for (int64_t k = 0; k < half; ++k) sum[k] += sum[k + half];
    }
    return sum[0];
  }

 private:
  static constexpr int64_t parts = 16;

  float part_[parts] = {};
};

}  // namespace ingot::standard
