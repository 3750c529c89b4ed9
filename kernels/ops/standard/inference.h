// What an `infer` callback of a standard row reads and says.
#pragma once
#include <algorithm>
#include <concepts>
#include <span>
#include <string>

#include "ingot_op.h"
#include "ops/binding.h"
#include "ops/dtype.h"
#include "ops/numbers.h"
#include "ops/standard/row.h"

namespace ingot::standard {

// Parts of sentences, as printf takes them: every integer is %lld.
inline const char *spoken(const std::string &text) { return text.c_str(); }
inline const char *spoken(const char *text) { return text; }
inline long long spoken(std::integral auto number) { return static_cast<long long>(number); }

// Says why a node or its inputs are wrong: what was found, what is wanted.
template <class... Parts>
int refuse(IngotCtx *ctx, const char *format, const Parts &...parts) {
  return ctx->host->error(ctx, format, spoken(parts)...);
}

struct Inference {
  const IngotNode *node;
  IngotCtx *ctx;
  std::span<const IngotTensor> in;
  std::span<IngotTensor> out;

  Attributes attributes() const { return {node, ctx->host}; }
  bool has(size_t i) const { return i < in.size() && in[i].dtype != 0; }

  template <class... Parts>
  int refuse(const char *format, const Parts &...parts) const {
    return standard::refuse(ctx, format, parts...);
  }

  // Makes `axis` count from the front; false: refused.
  bool fit_axis(int64_t &axis, int64_t rank, const char *name = "axis") const {
    if (axis >= -rank && axis < rank) {
      axis += axis < 0 ? rank : 0;
      return true;
    }
    refuse("%s is %lld, it must be from %lld to %lld", name, axis, -rank, rank - 1);
    return false;
  }

  // Output i is of this type and of the shape of `like`.
  int give(size_t i, int32_t dtype, const IngotTensor &like) const {
    if (i >= out.size()) return 0;
    out[i] = {};
    out[i].dtype = dtype;
    out[i].rank = like.rank;
    std::copy_n(like.shape, like.rank, out[i].shape);
    return 0;
  }
};

template <int (*rule)(const Inference &)>
int infer_by(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t n_in, IngotTensor *out,
             int32_t n_out) {
  return rule({node, ctx, {in, static_cast<size_t>(n_in)}, {out, static_cast<size_t>(n_out)}});
}

// Sums and products of sizes that come from a plan or a caller: they stop at the ends of int64, and infer() refuses
// what is so large.
inline int64_t plus(int64_t a, int64_t b) {
  int64_t sum;
  return !__builtin_add_overflow(a, b, &sum) ? sum : a < 0 ? INT64_MIN : INT64_MAX;
}
inline int64_t minus(int64_t a, int64_t b) {
  int64_t difference;
  return !__builtin_sub_overflow(a, b, &difference) ? difference : a < 0 ? INT64_MIN : INT64_MAX;
}
inline int64_t times(int64_t a, int64_t b) {
  int64_t product;
  return !__builtin_mul_overflow(a, b, &product) ? product : (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX;
}

// The output is like the first input.
inline int same_as_input(const Inference &inference) {
  return inference.give(0, inference.in[0].dtype, inference.in[0]);
}

inline bool is_present(const IngotCall &call, int32_t i) { return i < call.n_in && call.in[i].dtype != 0; }
inline bool is_wanted(const IngotCall &call, int32_t i) { return i < call.n_out && call.out[i].dtype != 0; }

inline int64_t front(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }

// Elements before, along and after an axis.
struct AxisSizes {
  int64_t outer = 1, size = 1, inner = 1;

  AxisSizes(const IngotTensor &tensor, int64_t axis) {
    for (int32_t i = 0; i < tensor.rank; ++i) (i < axis ? outer : i > axis ? inner : size) *= tensor.shape[i];
  }
};

}  // namespace ingot::standard
