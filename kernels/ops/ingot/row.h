// How the rows of domain "ingot" are put together, and what their naive kernels share.
#pragma once
#include <array>
#include <initializer_list>
#include <new>
#include <span>
#include <vector>

#include "ingot_op.h"
#include "ops/ingot/instruction_sets.h"

namespace ingot {

constexpr const char *floats = "f32|f16|bf16";
constexpr uint32_t naive_flags = INGOT_REFERENCE | INGOT_BATCH_INVARIANT;

using Infer = int (*)(const IngotNode *, IngotCtx *, const IngotTensor *, int32_t, IngotTensor *, int32_t);

constexpr IngotOp op_row(const char *name, const char *doc, std::span<const IngotArg> in, std::span<const IngotArg> out,
                         std::span<const IngotAttr> attrs, Infer infer, std::span<const IngotKernel> kernels) {
  return {.size = sizeof(IngotOp),
          .version = 1,
          .domain = "ingot",
          .name = name,
          .doc = doc,
          .in = in.data(),
          .out = out.data(),
          .attrs = attrs.data(),
          .n_in = static_cast<int32_t>(in.size()),
          .n_out = static_cast<int32_t>(out.size()),
          .n_attrs = static_cast<int32_t>(attrs.size()),
          .infer = infer,
          .kernels = kernels.data(),
          .n_kernels = static_cast<int32_t>(kernels.size())};
}

// The fast kernels, and after them the definition.
inline std::vector<IngotKernel> with_naive(std::span<const IngotKernel> fast, const IngotKernel &naive) {
  std::vector<IngotKernel> kernels(fast.begin(), fast.end());
  kernels.push_back(naive);
  return kernels;
}

using Create = int (*)(const IngotNode *, IngotCtx *, void **self);
using Enqueue = int (*)(void *self, const IngotCall *, int32_t tactic, IngotCtx *);
using Destroy = void (*)(void *self);

// The kernels of an op whose loop is compiled for several instruction sets; the plainest is the definition.
constexpr auto loop_kernels(Create create, Enqueue avx512, Enqueue avx2, Enqueue naive, Destroy destroy) {
  const auto kernel = [&](const char *name, uint32_t flags, auto supports, Enqueue enqueue) {
    return IngotKernel{name,    INGOT_CPU, 0,      0,       flags,   supports, nullptr,
                       nullptr, nullptr,   create, nullptr, enqueue, destroy};
  };
#if defined(__x86_64__)
  return std::array{
      kernel("avx512", INGOT_BATCH_INVARIANT, supports_instructions<Instructions::avx512>, avx512),
      kernel("avx2", INGOT_BATCH_INVARIANT, supports_instructions<Instructions::avx2>, avx2),
      kernel("naive", naive_flags, nullptr, naive),
  };
#else
  static_cast<void>(avx512);
  static_cast<void>(avx2);
  return std::array{kernel("naive", naive_flags, nullptr, naive)};
#endif
}

// Writes an output's type and shape.
inline void describe(IngotTensor &tensor, int32_t dtype, std::initializer_list<int64_t> shape) {
  tensor.dtype = dtype;
  tensor.rank = 0;
  for (const int64_t size : shape) tensor.shape[tensor.rank++] = size;
}

// Keeps a copy of `state` for a node whose outputs are all there; release<State> is its `destroy`.
template <class State>
int keep(const State &state, const IngotNode *node, IngotCtx *ctx, void **self) {
  const IngotHost *host = ctx->host;
  for (int32_t i = 0; i < host->output_count(node); ++i) {
    IngotTensor output{};
    host->output(node, i, &output);
    if (!output.dtype) return host->error(ctx, "output %d is absent; this op writes all of its outputs", i);
  }
  *self = new (std::nothrow) State(state);
  return *self ? 0 : host->error(ctx, "no memory for what a kernel keeps of its node");
}

template <class State>
void release(void *self) {
  delete static_cast<State *>(self);
}

// How many tokens (or other units of work) are worth handing to another thread, if one takes so many nanoseconds.
constexpr int64_t units_per_part(double unit_time) {
  constexpr double part_time = 3000;
  return static_cast<int64_t>(part_time / (unit_time + 1)) + 1;
}

}  // namespace ingot
