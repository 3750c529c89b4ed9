// Attention of tokens that stand beside others of their sequence, the work of prompts: FlashAttention-2 (Dao, arXiv
// 2307.08691, section 3) over pages. A block has a tile of rows, each a token and a head of a group, and goes through
// the keys that the tile sees; a warp has 32 rows, or 16 where heads are large.
#include <algorithm>

#include "ops/cuda/flash_tile_block.h"
#include "ops/cuda/launch.h"

namespace ingot {
namespace {

template <class C, class N, int K>
__global__ void __launch_bounds__(tile_threads, K == 256 && sizeof(C) == 1 ? 1 : 2) attend(const AttentionCall p) {
  let_next_launch();
  extern __shared__ __align__(16) uint8_t memory[];
  wait_for_previous();
  using Of = TileShape<C, N, K>;
  const int units = p.G * p.tile_chunks, unit = blockIdx.x % units;
  const int at = p.list->tiles - 1 - static_cast<int>(blockIdx.x / units);  // of a prompt, the longest rows first
  if (at < 0) return;
  Tile tile;
  tile.token = p.tiles[at];
  tile.sequence = p.sequences_T[tile.token];
  const int token = tile.token + static_cast<int>(threadIdx.x);
  const bool mine = static_cast<int>(threadIdx.x) < p.tile_tokens && token < p.T;
  tile.tokens = __syncthreads_count(mine && p.sequences_T[token] == tile.sequence);
  const int each = p.H / p.G, chunk = unit % p.tile_chunks;
  tile.group = unit / p.tile_chunks;
  tile.first_head = tile.group * each + chunk * p.tile_heads;
  tile.heads = min(p.tile_heads, each - chunk * p.tile_heads);
  tile.position = p.positions_T[tile.token];
  tile.last = p.positions_T[tile.token + tile.tokens - 1];
  tile.first = first_seen(p, tile.position);
  N *q = reinterpret_cast<N *>(memory), *keys = q + Of::rows * Of::stride, *values = keys + Of::keys * Of::stride;
  auto *codes = reinterpret_cast<uint8_t *>(values + Of::keys * Of::stride);
  TileBlock<C, N, K> block{p, tile, q, keys, values, codes, codes + Of::keys * K};
  block.attend();
}

template <class C, class N, int K>
int launch_tiles(const AttentionCall &call, IngotCtx *ctx) {
  const int64_t blocks = static_cast<int64_t>(call.most_tiles) * call.G * call.tile_chunks;
  const Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(tile_threads),
                  static_cast<unsigned>(tile_bytes(K, sizeof(C) == 1))};
  return launch(ctx, "attend_tiles", grid, attend<C, N, K>, call);
}

template <class C, class N, int K>
int allow(IngotCtx *ctx) {
  const auto bytes = static_cast<int>(tile_bytes(K, sizeof(C) == 1));
  return launched(ctx, "attend_tiles",
                  cudaFuncSetAttribute(attend<C, N, K>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
}

// Calls with(types of cache and tensor cores, K as a constant).
template <class C, class N, class With>
int with_size(int32_t K, const With &with) {
  switch (K) {
    case 64:
      return with.template operator()<C, N, 64>();
    case 80:
      return with.template operator()<C, N, 80>();
    case 96:
      return with.template operator()<C, N, 96>();
    case 128:
      return with.template operator()<C, N, 128>();
    default:
      return with.template operator()<C, N, 256>();
  }
}

template <class With>
int with_types(int32_t K, bool codes, bool is_bf16, const With &with) {
  if (codes) return with_size<uint8_t, __half>(K, with);
  return is_bf16 ? with_size<BFloat, BFloat>(K, with) : with_size<__half, __half>(K, with);
}

}  // namespace

int attend_tiles(const AttentionCall &call, bool codes, IngotCtx *ctx) {
  return with_types(call.K, codes, call.is_bf16,
                    [&]<class C, class N, int K>() { return launch_tiles<C, N, K>(call, ctx); });
}

int allow_tiles(int32_t K, bool codes, bool is_bf16, IngotCtx *ctx) {
  return with_types(K, codes, is_bf16, [&]<class C, class N, int size>() { return allow<C, N, size>(ctx); });
}

int32_t tile_rows(int32_t K) { return tile_warps * 16 * row_tiles(K); }

int64_t tile_bytes(int32_t K, bool codes) {
  const int64_t keys = keys_at_once(K);
  return (tile_rows(K) + 2 * keys) * (K + 8) * 2 + (codes ? 2 * keys * K : 0);
}

}  // namespace ingot
