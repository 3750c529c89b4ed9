// NumPy's broadcasting: the shape of an output, and a walk over it in blocks.
#pragma once
#include "ops/standard/elements.h"
#include "ops/standard/inference.h"

namespace ingot::standard {

// Widens `shape` by `other`; false: they do not fit.
inline bool widen(IngotTensor &shape, const IngotTensor &other) {
  const int32_t rank = std::max(shape.rank, other.rank);
  IngotTensor wide{};
  wide.dtype = shape.dtype;
  wide.rank = rank;
  for (int32_t i = 0; i < rank; ++i) {
    const int32_t a = i - (rank - shape.rank), b = i - (rank - other.rank);
    const int64_t left = a < 0 ? 1 : shape.shape[a], right = b < 0 ? 1 : other.shape[b];
    if (left != right && left != 1 && right != 1) return false;
    wide.shape[i] = left == 1 ? right : left;
  }
  shape = wide;
  return true;
}

// The output is as all inputs broadcast, of this type.
inline int broadcast_output(const Inference &inference, int32_t dtype) {
  IngotTensor shape = inference.in[0];
  for (size_t i = 1; i < inference.in.size(); ++i) {
    if (widen(shape, inference.in[i])) continue;
    return inference.refuse("input %lld is [%s], which does not broadcast with [%s] of those before it", i,
                            dims_text(inference.in[i]), dims_text(shape));
  }
  return inference.give(0, dtype, shape);
}

// An output and `count` inputs that broadcast to it. Dimensions that all of them pass alike are one.
template <int count>
class Broadcast {
 public:
  Broadcast(const IngotTensor &out, const IngotTensor *const (&in)[count]) : elements_(elements_of(out)) {
    int64_t natural[count];
    for (int64_t &stride : natural) stride = 1;
    for (int32_t i = out.rank - 1; i >= 0; --i) {
      if (out.shape[i] == 1) continue;
      int64_t stride[count];
      for (int k = 0; k < count; ++k) {
        const int32_t place = i - (out.rank - in[k]->rank);
        const int64_t size = place < 0 ? 1 : in[k]->shape[place];
        stride[k] = size == 1 ? 0 : natural[k];
        natural[k] *= size;
      }
      add(out.shape[i], stride);
    }
    for (int k = 0; k < count; ++k) step_[k] = rank_ ? stride_[0][k] : 0;
  }

  int64_t step(int k) const { return step_[k]; }

  // Calls body(first, n, at) for blocks of output elements; at[k]: where input k's elements begin, `step(k)` apart.
  template <class Body>
  void run(IngotCtx *ctx, const Body &body) const {
    const int64_t blocks = (elements_ + block_size - 1) / block_size;
    parallel(ctx, blocks, 8, [&](int64_t begin, int64_t end) {
      walk(begin * block_size, std::min(end * block_size, elements_), body);
    });
  }

 private:
  void add(int64_t size, const int64_t (&stride)[count]) {
    bool joins = rank_ > 0;
    for (int k = 0; joins && k < count; ++k) joins = stride[k] == stride_[rank_ - 1][k] * size_[rank_ - 1];
    if (joins) {
      size_[rank_ - 1] *= size;
      return;
    }
    size_[rank_] = size;
    std::copy_n(stride, count, stride_[rank_++]);
  }

  template <class Body>
  void walk(int64_t begin, int64_t end, const Body &body) const {
    const int64_t inner = rank_ ? size_[0] : 1;
    for (int64_t first = begin; first < end;) {
      int64_t at[count] = {}, rest = first;
      for (int32_t i = 0; i < rank_; ++i) {
        for (int k = 0; k < count; ++k) at[k] += rest % size_[i] * stride_[i][k];
        rest /= size_[i];
      }
      const int64_t n = std::min({inner - first % inner, end - first, block_size});
      body(first, n, at);
      first += n;
    }
  }

  int64_t elements_;
  int32_t rank_ = 0;  // dimension 0 is the innermost
  int64_t size_[INGOT_MAX_RANK], stride_[INGOT_MAX_RANK][count], step_[count];
};

// out = function(in…), element by element, computed with Number and stored as Result.
template <class Number, class Result, int count, class Function>
void map(IngotCtx *ctx, const IngotTensor &out, const IngotTensor *const (&in)[count], const Function &function) {
  const Broadcast<count> plan(out, in);
  plan.run(ctx, [&](int64_t first, int64_t n, const int64_t (&at)[count]) {
    Number x[count][block_size];
    Result y[block_size];
    for (int k = 0; k < count; ++k) read_elements(in[k]->data, in[k]->dtype, at[k], plan.step(k), n, x[k]);
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (count == 1) y[i] = function(x[0][i]);
      if constexpr (count == 2) y[i] = function(x[0][i], x[1][i]);
      if constexpr (count == 3) y[i] = function(x[0][i], x[1][i], x[2][i]);
    }
    write_elements(out.data, out.dtype, first, n, y);
  });
}

}  // namespace ingot::standard
