// PagedAttention, and RotaryPagedAttention, which reads q, k and v as one product left them: scratch memory, and which
// kernels are launched.
#include <algorithm>
#include <cstdio>

#include "ops/cuda/flash_call.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

// Inputs of the two; from cache_k on they are the same.
enum Input { q, k, v, cache_k, cache_v, pages, cells, positions, sequences, slopes, sinks, k_scale, v_scale };
enum RotaryInput { qkv, cos, sin };

// Where scratch memory holds what, for so many tokens, sequences, heads, groups and elements of a head.
struct Scratch {
  int64_t spans = 0, units = 0, tiles = 0;  // how many there is room for
  int64_t unit_heads, span_chunks, tile_heads, tile_chunks, tile_tokens;
  size_t list_at, spans_at, tiles_at, finished_at, sums_at, values_at, q_at, bytes = 0;

  Scratch(int64_t T, int64_t S, int64_t H, int64_t G, int64_t K, bool invariant, bool rotary) {
    const int64_t each = H / std::max<int64_t>(G, 1);
    unit_heads = std::clamp<int64_t>(each, 1, span_heads);
    span_chunks = (each + unit_heads - 1) / unit_heads;
    tile_heads = std::clamp<int64_t>(each, 1, tile_rows(static_cast<int32_t>(K)));
    tile_chunks = (each + tile_heads - 1) / tile_heads;
    tile_tokens = tile_rows(static_cast<int32_t>(K)) / tile_heads;
    const int64_t of_span = std::max<int64_t>(1, G * span_chunks);
    if (invariant) {
      spans = std::max(T, invariant_units / of_span);
      units = std::max<int64_t>(invariant_units, of_span);
    } else {
      spans = std::min(T, S) + wanted_units / of_span + 1;
      units = spans * of_span;
      tiles = T / tile_tokens + std::min(S, T / 2) + 1;
    }
    list_at = take(sizeof(WorkList));
    spans_at = take(spans * sizeof(Span));
    tiles_at = take(tiles * sizeof(int32_t));
    finished_at = take(units * sizeof(int32_t));
    sums_at = take(units * unit_heads * sizeof(float2));
    values_at = take(units * unit_heads * K * sizeof(float));
    q_at = take(rotary ? T * H * K * 2 : 0);
  }

  size_t take(size_t size) {
    const size_t at = bytes;
    bytes += (size + 255) / 256 * 256;
    return at;
  }
};

// invariant: a token's bits depend on its own sequence only, neither on how its prompt was cut.
template <bool rotary, bool invariant>
struct Attention {
  int32_t heads, groups, window;
  float scale, softcap;
  bool interleaved = false;

  explicit Attention(const NodeView &node)
      : heads(static_cast<int32_t>(node.integer("heads"))),
        groups(static_cast<int32_t>(node.integer("groups"))),
        window(static_cast<int32_t>(std::min<int64_t>(node.integer("window"), INT32_MAX / 2))),
        scale(node.number("scale")),
        softcap(node.number("softcap")) {
    if constexpr (rotary) interleaved = node.integer("interleaved") != 0;
  }

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor *in = call.in, &cache = in[cache_k];
    const int64_t T = in[q].shape[0], S = in[pages].shape[0], K = cache.shape[3], W = cache.shape[2];
    if (T == 0) return 0;
    const Scratch scratch(T, S, heads, groups, K, invariant, rotary);
    if (scratch.bytes > ctx->workspace_bytes) {
      return ctx->host->error(ctx, "attention of %lld tokens takes %zu bytes of scratch memory, not the %zu it got",
                              static_cast<long long>(T), scratch.bytes, ctx->workspace_bytes);
    }
    auto *memory = static_cast<uint8_t *>(ctx->workspace);
    AttentionCall p{};
    p.cache_k = cache.data;
    p.cache_v = in[cache_v].data;
    p.y_THK = call.out[0].data;
    p.pages_SM = static_cast<const int32_t *>(in[pages].data);
    p.positions_T = static_cast<const int32_t *>(in[positions].data);
    p.sequences_T = static_cast<const int32_t *>(in[sequences].data);
    p.slopes_H = static_cast<const float *>(in[slopes].data);
    p.sinks_H = static_cast<const float *>(in[sinks].data);
    if (is_there(call, k_scale)) p.k_scale = static_cast<const float *>(in[k_scale].data);
    if (is_there(call, v_scale)) p.v_scale = static_cast<const float *>(in[v_scale].data);
    p.list = reinterpret_cast<WorkList *>(memory + scratch.list_at);
    p.spans = reinterpret_cast<Span *>(memory + scratch.spans_at);
    p.tiles = reinterpret_cast<int32_t *>(memory + scratch.tiles_at);
    p.finished = reinterpret_cast<int32_t *>(memory + scratch.finished_at);
    p.sums = reinterpret_cast<float2 *>(memory + scratch.sums_at);
    p.values = reinterpret_cast<float *>(memory + scratch.values_at);
    p.M = in[pages].shape[1];
    p.T = static_cast<int32_t>(T);
    p.S = static_cast<int32_t>(S);
    p.P = static_cast<int32_t>(cache.shape[0]);
    p.H = heads;
    p.G = groups;
    p.W = static_cast<int32_t>(W);
    p.K = static_cast<int32_t>(K);
    p.window = window;
    p.most_spans = static_cast<int32_t>(scratch.spans);
    p.most_tiles = static_cast<int32_t>(scratch.tiles);
    p.unit_heads = static_cast<int32_t>(scratch.unit_heads);
    p.span_chunks = static_cast<int32_t>(scratch.span_chunks);
    p.tile_heads = static_cast<int32_t>(scratch.tile_heads);
    p.tile_chunks = static_cast<int32_t>(scratch.tile_chunks);
    p.tile_tokens = static_cast<int32_t>(scratch.tile_tokens);
    p.page_factor = (uint64_t{1} << 32) / static_cast<uint64_t>(W / 16) + 1;
    p.scale = scale;
    p.softcap = softcap;
    p.invariant = invariant;
    p.every_token = invariant || T <= S;
    p.is_bf16 = in[q].dtype == INGOT_BF16;

    AppendCall a{};
    a.cells_T = static_cast<const int32_t *>(in[cells].data);
    if constexpr (rotary) {
      const auto *all = static_cast<const uint16_t *>(in[qkv].data);
      void *rotated = memory + scratch.q_at;
      a.q = all;
      a.k = all + int64_t{heads} * K;
      a.v = all + int64_t{heads + groups} * K;
      a.q_row = a.k_row = a.v_row = in[qkv].shape[1];
      a.q_THK = rotated;
      a.cos_LR = static_cast<const float *>(in[cos].data);
      a.sin_LR = static_cast<const float *>(in[sin].data);
      a.L = static_cast<int32_t>(in[cos].shape[0]);
      a.R = static_cast<int32_t>(in[cos].shape[1]);
      a.interleaved = interleaved;
      p.q_THK = rotated;
    } else {
      a.k = in[k].data;
      a.v = in[v].data;
      a.k_row = a.v_row = in[k].shape[1];
      p.q_THK = in[q].data;
    }
    const bool codes = cache.dtype == INGOT_F8E4M3;
    if (const int status = append_and_list(p, a, codes, ctx)) return status;
    // Tokens of one sequence do not stand alone, unless there is only one.
    if (p.every_token || S > 1) {
      if (const int status = attend_spans(p, codes, ctx)) return status;
    }
    return p.every_token ? 0 : attend_tiles(p, codes, ctx);
  }

  static int create(const IngotNode *node, IngotCtx *ctx, void **self) {
    const NodeView view{node, ctx->host};
    const IngotTensor query = view.input(q), cache = view.input(cache_k);
    const auto size = static_cast<int32_t>(cache.shape[3]);
    const bool codes = cache.dtype == INGOT_F8E4M3;
    if (const int status = invariant ? 0 : allow_tiles(size, codes, query.dtype == INGOT_BF16, ctx)) return status;
    return KernelOf<Attention>::create(node, ctx, self);
  }

  // Words, in the order of their first use: T X Y P G W K S M H, or T X L R P G W K S M H.
  static size_t workspace(const IngotNode *, const int64_t *dims) {
    const int64_t *from_P = dims + (rotary ? 4 : 3);
    return Scratch(dims[0], from_P[4], from_P[6], from_P[1], from_P[3], invariant, rotary).bytes;
  }
};

int supports(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  const NodeView view{node, ctx->host};
  const IngotTensor query = view.input(q), cache = view.input(cache_k);
  const auto size = static_cast<long long>(cache.shape[3]), page = static_cast<long long>(cache.shape[2]);
  if (query.dtype != INGOT_BF16 && query.dtype != INGOT_F16) {
    snprintf(why, n, "it takes bf16 and f16");
  } else if (cache.dtype != query.dtype && cache.dtype != INGOT_F8E4M3) {
    snprintf(why, n, "its caches are of the type of q, or f8e4m3");
  } else if (size != 64 && size != 80 && size != 96 && size != 128 && size != 256) {
    snprintf(why, n, "heads of %lld elements; it takes 64, 80, 96, 128 and 256", size);
  } else if (page < 16 || page % 16) {
    snprintf(why, n, "pages of %lld tokens; it takes multiples of 16", page);
  } else {
    return 1;
  }
  return 0;
}

template <bool rotary, bool invariant>
constexpr IngotKernel kernel(const char *name) {
  IngotKernel kernel = kernel_of<Attention<rotary, invariant>>(name, supports);
  if (!invariant) kernel.flags &= ~static_cast<uint32_t>(INGOT_BATCH_INVARIANT);
  kernel.create = Attention<rotary, invariant>::create;
  kernel.workspace = Attention<rotary, invariant>::workspace;
  return kernel;
}

constexpr IngotKernel paged[] = {kernel<false, false>("flash"), kernel<false, true>("parts")};
constexpr IngotKernel rotary[] = {kernel<true, false>("flash"), kernel<true, true>("parts")};

constexpr IngotOpKernels sets[] = {{"ingot", "PagedAttention", paged, 2}, {"ingot", "RotaryPagedAttention", rotary, 2}};

}  // namespace

std::span<const IngotOpKernels> flash_attention_kernels() { return sets; }

}  // namespace ingot
