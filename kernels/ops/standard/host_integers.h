// Integers of an input that lives on the host: shapes, axes, sizes.
#pragma once
#include <array>
#include <span>

#include "ops/standard/inference.h"

namespace ingot::standard {

struct HostIntegers {
  std::array<int64_t, 2 * INGOT_MAX_RANK> values{};
  int64_t count = 0;

  HostIntegers() = default;
  // tensor: absent, rank 0 or 1. Those beyond the space are counted only.
  explicit HostIntegers(const IngotTensor &tensor) {
    if (tensor.dtype == 0) return;
    count = elements_of(tensor);
    for (int64_t i = 0; i < count && i < static_cast<int64_t>(values.size()); ++i) {
      values[static_cast<size_t>(i)] = read_integer(tensor.data, tensor.dtype, i);
    }
  }

  int64_t operator[](int64_t i) const { return values[static_cast<size_t>(i)]; }
  std::span<const int64_t> span() const { return {values.data(), static_cast<size_t>(count)}; }
};

// Input i's integers, if it is there; false: refused.
inline bool read_host(const Inference &inference, size_t i, const char *name, HostIntegers &integers) {
  if (!inference.has(i)) return true;
  const IngotTensor &tensor = inference.in[i];
  integers = HostIntegers(tensor);
  if (tensor.rank <= 1 && integers.count <= static_cast<int64_t>(integers.values.size())) return true;
  inference.refuse("%s is [%s], it must be a vector of at most %lld integers", name, dims_text(tensor),
                   integers.values.size());
  return false;
}

// A set of axes as bits.
struct AxisSet {
  uint32_t bits = 0;

  bool has(int64_t axis) const { return bits >> axis & 1u; }
};

// False: refused, an axis lies outside or is named twice.
inline bool fit_axes(const Inference &inference, const HostIntegers &axes, int64_t rank, AxisSet &set) {
  for (int64_t axis : axes.span()) {
    if (!inference.fit_axis(axis, rank, "one of axes")) return false;
    if (set.has(axis)) {
      inference.refuse("axes name the axis %lld twice", axis);
      return false;
    }
    set.bits |= 1u << axis;
  }
  return true;
}

}  // namespace ingot::standard
