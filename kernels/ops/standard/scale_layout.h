// Which scale belongs to an element of QuantizeLinear and DequantizeLinear: one of all, of its index at an axis, or of
// its block along it.
#pragma once
#include "ops/standard/inference.h"

namespace ingot::standard {

class ScaleLayout {
 public:
  ScaleLayout(const IngotTensor &x, const IngotTensor &scale, int64_t axis, int64_t block)
      : whole_(elements_of(scale) == 1),
        blocked_(block > 0),
        block_(std::max<int64_t>(block, 1)),
        sizes_(x, whole_ ? 0 : front(axis, x.rank)) {}

  struct Piece {
    int64_t count, scale, step;  // elements; the first one's scale; between their scales
  };

  // As many of the `limit` elements from `first` on as have scales at equal distances.
  Piece piece(int64_t first, int64_t limit) const {
    if (whole_) return {limit, 0, 0};
    const int64_t inside = first % sizes_.inner, at = first / sizes_.inner % sizes_.size;
    const int64_t outer = first / sizes_.inner / sizes_.size;
    const int64_t blocks = (sizes_.size + block_ - 1) / block_;
    if (sizes_.inner > 1) {
      const int64_t count = std::min(limit, sizes_.inner - inside);
      if (!blocked_) return {count, at, 0};
      return {count, (outer * blocks + at / block_) * sizes_.inner + inside, 1};
    }
    if (!blocked_) return {std::min(limit, sizes_.size - at), at, 1};
    const int64_t block_end = std::min(sizes_.size, (at / block_ + 1) * block_);
    return {std::min(limit, block_end - at), outer * blocks + at / block_, 0};
  }

 private:
  bool whole_, blocked_;
  int64_t block_;
  AxisSizes sizes_;
};

// Whether input 1, the scale, fits x by `axis` and `block_size`, and input 2, the zero point, the scale; false:
// refused.
inline bool fits_scale(const Inference &inference) {
  const IngotTensor &x = inference.in[0], &scale = inference.in[1];
  int64_t axis = inference.attributes().integer("axis");
  const int64_t block = inference.attributes().integer("block_size");
  if (inference.has(2)) {
    const IngotTensor &zero = inference.in[2];
    if (zero.rank != scale.rank || !std::equal(zero.shape, zero.shape + zero.rank, scale.shape)) {
      inference.refuse("the zero point is [%s], it must be as the scale [%s]", dims_text(zero), dims_text(scale));
      return false;
    }
  }
  if (elements_of(scale) == 1) return true;
  if (!inference.fit_axis(axis, x.rank)) return false;
  if (block == 0) {
    if (scale.rank == 1 && scale.shape[0] == x.shape[axis]) return true;
    inference.refuse("the scale is [%s], it must be one number or a vector of %lld, as x [%s] at axis %lld",
                     dims_text(scale), x.shape[axis], dims_text(x), axis);
    return false;
  }
  bool fits = block > 0 && scale.rank == x.rank;
  for (int32_t i = 0; fits && i < x.rank; ++i) {
    fits = scale.shape[i] == (i == axis ? x.shape[i] / block + (x.shape[i] % block != 0) : x.shape[i]);
  }
  if (!fits) {
    inference.refuse(
        "the scale is [%s], x [%s]: with block_size = %lld at axis %lld it must be as x with that axis divided by it",
        dims_text(scale), dims_text(x), block, axis);
  }
  return fits;
}

}  // namespace ingot::standard
