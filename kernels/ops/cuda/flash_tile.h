// The sizes of a tile of rows, each a token and a head of a group, and what it is.
#pragma once
#include "ops/cuda/flash_call.h"
#include "ops/cuda/flash_words.h"

namespace ingot {

constexpr int tile_threads = 128, tile_warps = tile_threads / 32;
__host__ __device__ constexpr int row_tiles(int K) { return K <= 128 ? 2 : 1; }
__host__ __device__ constexpr int keys_at_once(int K) { return K <= 128 ? 64 : 32; }

// N: the type that tensor cores read, of the caches or, where these hold codes, f16.
template <class C, class N, int K>
struct TileShape {
  static constexpr bool codes = sizeof(C) == 1;
  static constexpr int tiles = row_tiles(K), rows = tile_warps * 16 * tiles, keys = keys_at_once(K);
  static constexpr int stride = K + 8;  // elements; an odd number of 16 bytes, so that 8 rows lie in different banks
  static constexpr int chunks = K / 8;  // of a row
  static constexpr int code_chunks = K / 16;
};

// What a block has to do.
struct Tile {
  int token, tokens, sequence, group, first_head, heads;
  int position, last;  // of its first and its last token
  int first;           // the first key that any of its rows sees
};

}  // namespace ingot
