// PagedAttention of steps in which a sequence has several tokens: Dao, "FlashAttention-2", arXiv 2307.08691, section 3,
// over a paged cache. A token's bits depend on where its tile begins, thus on the step.
#include "ops/cuda/attention_append.h"
#include "ops/cuda/attention_list.h"
#include "ops/cuda/attention_tile_kernel.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace paged {
namespace {

constexpr int64_t few_tokens = 16;  // steps of so few are split along their keys, row by row

template <class X, class C, int K>
int launch_tiles(const Tiles &p, IngotCtx *ctx) {
  using S = Shape<C, K>;
  const cudaError_t error =
      cudaFuncSetAttribute(attend_tile<X, C, K>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::bytes);
  if (const int status = launched(ctx, "attend_tile", error)) return status;
  const Grid grid{dim3(static_cast<unsigned>(p.tiles) * p.G), dim3(S::threads), S::bytes};
  return launch(ctx, "attend_tile", grid, attend_tile<X, C, K>, p);
}

template <class X, class C>
int with_size(const Tiles &p, IngotCtx *ctx) {
  if (const int status = launch_append<X, C>(p, ctx)) return status;
  switch (p.K) {
    case 64:
      return launch_tiles<X, C, 64>(p, ctx);
    case 80:
      return launch_tiles<X, C, 80>(p, ctx);
    case 96:
      return launch_tiles<X, C, 96>(p, ctx);
    case 128:
      return launch_tiles<X, C, 128>(p, ctx);
    default:
      return launch_tiles<X, C, 256>(p, ctx);
  }
}

constexpr int64_t tile_rows(int64_t K) { return K == 256 ? 64 : 128; }

// The most tiles that a step can have: each sequence's last may be short.
int64_t tiles_of(int64_t T, int64_t S, int64_t tokens) { return std::min(T, T / tokens + std::min(S, T)); }

// What takes the other steps: the first of the kernels that go row by row. It takes whatever this one is asked for.
const IngotKernel &other() { return attention_row_kernels()[0].kernels[0]; }

struct Kept {
  Attention attention;
  void *other;
};

int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  void *rows = nullptr;
  if (const int status = other().create(node, ctx, &rows)) return status;
  *self = new (std::nothrow) Kept{Attention(NodeView{node, ctx->host}), rows};
  if (*self) return 0;
  other().destroy(rows);
  return ctx->host->error(ctx, "no memory for what a kernel keeps of its node");
}

void destroy(void *self) {
  other().destroy(static_cast<Kept *>(self)->other);
  delete static_cast<Kept *>(self);
}

int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Kept &kept = *static_cast<const Kept *>(self);
  auto *first = static_cast<int32_t *>(ctx->workspace);
  Tiles p{kept.attention.step(*call), first, 0, -1};
  const int64_t S = call->in[pages].shape[0], tokens = tile_rows(p.K) / (p.H / p.G);
  if (p.T <= few_tokens || p.T == S || tokens == 0) return other().enqueue(kept.other, call, 0, ctx);
  p.tiles = static_cast<int32_t>(tiles_of(p.T, S, tokens));
  for (int32_t i = 0; i < 31; ++i) {
    if (p.W == 1 << i) p.shift = i;
  }
  if (const int status = launch(ctx, "list_tiles", Grid{dim3(1), dim3(list_threads)}, list_tiles, p.sequences_T,
                                static_cast<int>(p.T), static_cast<int>(tokens), first, p.tiles))
    return status;
  const int32_t from = call->in[q].dtype, to = call->in[cache_k].dtype;
  if (from == INGOT_BF16)
    return to == INGOT_BF16 ? with_size<__nv_bfloat16, __nv_bfloat16>(p, ctx)
                            : with_size<__nv_bfloat16, uint8_t>(p, ctx);
  return to == INGOT_F16 ? with_size<__half, __half>(p, ctx) : with_size<__half, uint8_t>(p, ctx);
}

int supports(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  return other().supports(node, ctx, why, n);
}

// The list of tiles, or what the other kernel takes. Words, in the order of their first use: T X Y P G W K S M H.
size_t workspace(const IngotNode *node, const int64_t *dims) {
  return std::max(other().workspace(node, dims), static_cast<size_t>(dims[0]) * sizeof(int32_t));
}

constexpr IngotKernel tiles() {
  IngotKernel kernel{};
  kernel.name = "tiles";
  kernel.device = INGOT_CUDA;
  kernel.sm_min = 80;
  kernel.flags = INGOT_CAPTURABLE | INGOT_PDL;
  kernel.supports = supports;
  kernel.workspace = workspace;
  kernel.create = create;
  kernel.enqueue = enqueue;
  kernel.destroy = destroy;
  return kernel;
}

constexpr IngotKernel kernels[] = {tiles()};

constexpr IngotOpKernels sets[] = {{"ingot", "PagedAttention", kernels, 1}};

}  // namespace
}  // namespace paged

std::span<const IngotOpKernels> attention_tile_kernels() { return paged::sets; }

}  // namespace ingot
