// Where the heads of a tensor lie, in the two forms that ONNX's Attention and RotaryEmbedding take.
#pragma once
#include "ingot_op.h"

namespace ingot::standard {

// [batch, length, heads * size], or [batch, heads, length, size].
struct Heads {
  int64_t batch, heads, length, size;
  bool split;  // the heads are a dimension of their own, before the length

  Heads(const IngotTensor &x, int64_t given) : batch(x.shape[0]), split(x.rank == 4) {
    heads = split ? x.shape[1] : given;
    length = split ? x.shape[2] : x.shape[1];
    size = split ? x.shape[3] : heads ? x.shape[2] / heads : 0;
  }

  int64_t first(int64_t b, int64_t head, int64_t place) const {
    return (split ? (b * heads + head) * length + place : (b * length + place) * heads + head) * size;
  }
};

}  // namespace ingot::standard
