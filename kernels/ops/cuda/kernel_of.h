// How a kernel that keeps a small object of its node becomes an IngotKernel.
#pragma once
#include <new>

#include "ingot_op.h"

namespace ingot {

constexpr uint32_t row_kernel_flags = INGOT_CAPTURABLE | INGOT_PDL | INGOT_BATCH_INVARIANT;

struct NodeView {
  const IngotNode *node;
  const IngotHost *host;

  int64_t integer(const char *name) const { return host->attr_int(node, name); }
  float number(const char *name) const { return static_cast<float>(host->attr_float(node, name)); }
  const char *text(const char *name) const { return host->attr_string(node, name); }
  IngotTensor input(int32_t i) const {
    IngotTensor tensor{};
    if (i < host->input_count(node)) host->input(node, i, &tensor);
    return tensor;
  }
};

// A Work is made of a node once; run(call, ctx) launches.
template <class Work>
struct KernelOf {
  static int create(const IngotNode *node, IngotCtx *ctx, void **self) {
    *self = new (std::nothrow) Work(NodeView{node, ctx->host});
    return *self ? 0 : ctx->host->error(ctx, "no memory for what a kernel keeps of its node");
  }
  static int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
    return static_cast<const Work *>(self)->run(*call, ctx);
  }
  static void destroy(void *self) { delete static_cast<Work *>(self); }
};

using Supports = int (*)(const IngotNode *, const IngotCtx *, char *why, size_t n);

template <class Work>
constexpr IngotKernel kernel_of(const char *name, Supports supports = nullptr) {
  return {name,
          INGOT_CUDA,
          80,
          0,
          row_kernel_flags,
          supports,
          nullptr,
          nullptr,
          nullptr,
          KernelOf<Work>::create,
          nullptr,
          KernelOf<Work>::enqueue,
          KernelOf<Work>::destroy};
}

inline bool is_there(const IngotCall &call, int32_t i) { return i < call.n_in && call.in[i].dtype != 0; }
inline bool is_wanted(const IngotCall &call, int32_t i) { return i < call.n_out && call.out[i].dtype != 0; }
inline int64_t count_of(const IngotTensor &tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return count;
}

// Elements before an axis, which may count from the end, along it and after it.
struct Axis {
  int64_t outer = 1, size = 1, inner = 1;

  Axis(const IngotTensor &tensor, int64_t axis) {
    const int64_t at = axis < 0 ? axis + tensor.rank : axis;
    for (int32_t i = 0; i < tensor.rank; ++i) (i < at ? outer : i > at ? inner : size) *= tensor.shape[i];
  }
};

}  // namespace ingot
