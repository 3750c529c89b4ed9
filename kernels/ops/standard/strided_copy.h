// Elements from one place to another, both with strides of their own: what most movement of data is.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ingot_op.h"

namespace ingot::standard {

// Dimensions from the outermost to the innermost; strides and first places in elements.
struct StridedCopy {
  static constexpr int32_t most = 2 * INGOT_MAX_RANK;

  int32_t rank = 0;
  int64_t size[most], from[most], to[most];
  int64_t from_first = 0, to_first = 0;

  void add(int64_t count, int64_t from_stride, int64_t to_stride) {
    size[rank] = count;
    from[rank] = from_stride;
    to[rank++] = to_stride;
  }

  void run(IngotCtx *ctx, int32_t dtype, const void *in, void *out) const;
};

// Strides of a contiguous tensor.
struct Strides {
  int64_t at[INGOT_MAX_RANK];

  explicit Strides(const IngotTensor &tensor) {
    int64_t stride = 1;
    for (int32_t i = tensor.rank - 1; i >= 0; --i) {
      at[i] = stride;
      stride *= tensor.shape[i];
    }
  }
};

}  // namespace ingot::standard
