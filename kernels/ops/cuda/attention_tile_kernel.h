// The kernel of attention by tiles: a block has a tile of rows, each a token with one of the heads of a group, so that
// a key which is read serves all of them (Ainslie et al., arXiv 2305.13245); its warps have 16 rows each. Keys and
// values come in tiles by copies that run one tile ahead of the tensor cores. Weights are rounded to the type of the
// values before they multiply them; all else is float32.
#pragma once
#include <cmath>
#include <type_traits>

#include "ops/cuda/attention.h"
#include "ops/cuda/attention_copy.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/mma.h"
#include "ops/cuda/vectors.h"

namespace ingot::paged {

constexpr float log2e = 1.4426950408889634f;

struct Tiles : Step {
  const int32_t *first;  // token of each tile; -1: none
  int32_t tiles;
  int32_t shift;  // log2 of W; -1: W is no power of two
};

template <class C, int K>
struct Shape {
  static constexpr int warps = K == 256 ? 4 : 8, threads = 32 * warps, rows = 16 * warps, keys = K == 256 ? 32 : 64;
  // Eight more elements a row: the rows of a piece then lie in different banks.
  static constexpr int stride = K + 8, tile = keys * stride, codes = keys * K;
  static constexpr bool coded = sizeof(C) == 1;
  static constexpr int bytes = coded ? 2 * tile * 2 + 4 * codes : 4 * tile * 2;
};

template <class X>
__device__ inline uint32_t pair_of(float low, float high) {
  if constexpr (std::is_same_v<X, __half>) {
    const __half2 two = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&two);
  } else {
    const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&two);
  }
}

template <class X>
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<X, __half>) {
    F16Mma::multiply(c, a, b0, b1);
  } else {
    Bf16Mma::multiply(c, a, b0, b1);
  }
}

// Starts the copies of the tile's rows of one cache: keys at…, of which only begin…end-1 are read, others become zero.
template <class C, int K, int stride>
__device__ inline void copy_tile(const Tiles &p, const void *cache, const int32_t *pages_M, int group, int at,
                                 int begin, int end, C *to) {
  using S = Shape<C, K>;
  constexpr int size = 16 / sizeof(C), pieces = K / size;
#pragma unroll
  for (int i = threadIdx.x; i < S::keys * pieces; i += S::threads) {
    const int key = i / pieces, piece = i % pieces, n = at + key;
    const bool there = n >= begin && n < end;
    int64_t row = 0;
    if (there) {
      const int page = p.shift >= 0 ? n >> p.shift : n / p.W;
      const int64_t block = min(max(int64_t{pages_M[page]}, int64_t{0}), p.P - 1);
      row = ((block * p.G + group) * p.W + (n - page * p.W)) * K;
    }
    copy_sixteen(to + key * stride + piece * size, static_cast<const C *>(cache) + row + piece * size, there);
  }
}

// The numbers of a tile of codes.
template <class X, int K>
__device__ inline void decode_tile(const uint8_t *codes, X *to) {
  using S = Shape<uint8_t, K>;
#pragma unroll
  for (int i = threadIdx.x; i < S::codes / 16; i += S::threads) {
    const uint4 sixteen = reinterpret_cast<const uint4 *>(codes)[i];
    const uint32_t words[4] = {sixteen.x, sixteen.y, sixteen.z, sixteen.w};
    uint32_t pairs[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 two = from_e4m3(static_cast<uint16_t>(words[j / 2] >> (j % 2 * 16)));
      pairs[j] = pair_of<X>(two.x, two.y);
    }
    auto *row = reinterpret_cast<uint4 *>(to + i / (K / 16) * S::stride + i % (K / 16) * 16);
    row[0] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    row[1] = make_uint4(pairs[4], pairs[5], pairs[6], pairs[7]);
  }
}

// One lane's two rows of the 16 of its warp, and what is known of their softmax; scores are in units of log2.
struct RowPair {
  int position[2], from[2];  // the last and the first key that is seen; a row that is none sees nothing
  float slope[2], largest[2], sum[2];
};

template <class X, class C, int K>
struct Warp {
  using S = Shape<C, K>;
  uint32_t query[K / 16][4];
  float values[K / 8][4];
  RowPair rows;

  // The keys at…at+keys-1 and their values; masked: some row does not see some of them.
  __device__ void add(const Tiles &p, const X *keys, const X *means, int at, bool masked, float factor) {
    const int lane = threadIdx.x % 32, piece = lane / 8, r = lane % 8, t = lane % 4;
    float score[S::keys / 8][4];
#pragma unroll
    for (int j = 0; j < S::keys / 8; j += 2) {
#pragma unroll
      for (int e = 0; e < 4; ++e) score[j][e] = score[j + 1][e] = 0;
#pragma unroll
      for (int k = 0; k < K / 16; ++k) {
        uint32_t b[4];
        load_pieces(b, keys + (j * 8 + piece / 2 * 8 + r) * S::stride + k * 16 + piece % 2 * 8);
        multiply<X>(score[j], query[k], b[0], b[1]);
        multiply<X>(score[j + 1], query[k], b[2], b[3]);
      }
    }
    if (p.softcap != 0) {
#pragma unroll
      for (auto &four : score) {
#pragma unroll
        for (float &s : four) s = p.softcap * tanhf(s * factor / p.softcap);
      }
      factor = 1;
    }
    float top[2] = {rows.largest[0], rows.largest[1]};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = e / 2, first = at + 2 * t + e % 2;
      const float slope = rows.slope[row] * log2e, base = slope * static_cast<float>(first - rows.position[row]);
#pragma unroll
      for (int j = 0; j < S::keys / 8; ++j) {
        float &s = score[j][e];
        s = fmaf(s, factor * log2e, fmaf(slope, static_cast<float>(8 * j), base));
        const int n = first + 8 * j;
        if (masked && (n > rows.position[row] || n < rows.from[row])) s = -INFINITY;
        top[row] = fmaxf(top[row], s);
      }
    }
    float by[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      top[row] = fmaxf(top[row], __shfl_xor_sync(~0u, top[row], 1));
      top[row] = fmaxf(top[row], __shfl_xor_sync(~0u, top[row], 2));
      by[row] = rows.largest[row] == -INFINITY ? 0.f : exp2f(rows.largest[row] - top[row]);
      rows.largest[row] = top[row];
      rows.sum[row] *= by[row];
      if (top[row] == -INFINITY) top[row] = 0;  // no key was seen; all weights are 0
    }
#pragma unroll
    for (auto &four : values) {
#pragma unroll
      for (int e = 0; e < 4; ++e) four[e] *= by[e / 2];
    }
#pragma unroll
    for (auto &four : score) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        four[e] = exp2f(four[e] - top[e / 2]);
        rows.sum[e / 2] += four[e];
      }
    }
#pragma unroll
    for (int n = 0; n < S::keys / 16; ++n) {
      const float(&left)[4] = score[2 * n], (&right)[4] = score[2 * n + 1];
      const uint32_t weights[4] = {pair_of<X>(left[0], left[1]), pair_of<X>(left[2], left[3]),
                                   pair_of<X>(right[0], right[1]), pair_of<X>(right[2], right[3])};
#pragma unroll
      for (int k = 0; k < K / 16; ++k) {
        uint32_t b[4];
        load_transposed(b, means + (n * 16 + piece % 2 * 8 + r) * S::stride + k * 16 + piece / 2 * 8);
        multiply<X>(values[2 * k], weights, b[0], b[1]);
        multiply<X>(values[2 * k + 1], weights, b[2], b[3]);
      }
    }
  }
};

template <class X, class C, int K>
__global__ void __launch_bounds__(Shape<C, K>::threads) attend_tile(const Tiles p) {
  using S = Shape<C, K>;
  let_next_launch();
  wait_for_previous();
  extern __shared__ uint4 memory[];
  // The last tiles of a prompt see the most keys, so they begin first.
  const int tile = p.tiles - 1 - static_cast<int>(blockIdx.x) / p.G, group = static_cast<int>(blockIdx.x) % p.G;
  const int first = p.first[tile];
  if (first < 0) return;
  const int each = p.H / p.G, most = S::rows / each, sequence = p.sequences_T[first];
  const int mine = first + static_cast<int>(threadIdx.x);
  const int count =
      __syncthreads_count(static_cast<int>(threadIdx.x) < most && mine < p.T && p.sequences_T[mine] == sequence);
  const int32_t *pages_M = p.pages_SM + static_cast<int64_t>(sequence) * p.M;
  const int begin = first_seen(p, p.positions_T[first]), end = p.positions_T[first + count - 1] + 1;

  Warp<X, C, K> warp;
  const int lane = threadIdx.x % 32, t = lane % 4, top_row = static_cast<int>(threadIdx.x) / 32 * 16;
  const bool idle = top_row >= count * each;
  int64_t place[2];  // of the rows in q and y; -1: none
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const int at = top_row + lane / 4 + 8 * row, head = group * each + at % each;
    const bool there = at < count * each;
    const int token = first + at / each;
    place[row] = there ? (static_cast<int64_t>(token) * p.H + head) * K : -1;
    warp.rows.position[row] = there ? p.positions_T[token] : -1;
    warp.rows.from[row] = there ? first_seen(p, warp.rows.position[row]) : 0;
    warp.rows.slope[row] = there ? p.slopes_H[head] : 0.f;
    const float sink = there ? p.sinks_H[head] * log2e : -INFINITY;
    warp.rows.largest[row] = sink;
    // Each of the four lanes of a row has a part of the sum.
    warp.rows.sum[row] = t == 0 && sink != -INFINITY ? 1.f : 0.f;
  }
#pragma unroll
  for (int k = 0; k < K / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto *q_row = static_cast<const X *>(p.q_TX) + place[i % 2] + k * 16 + i / 2 * 8 + 2 * t;
      warp.query[k][i] = place[i % 2] >= 0 ? *reinterpret_cast<const uint32_t *>(q_row) : 0u;
    }
  }
#pragma unroll
  for (auto &four : warp.values) four[0] = four[1] = four[2] = four[3] = 0;
  // The first and the last token of the warp's rows, which bound what it sees.
  const int lowest = idle ? 0 : p.positions_T[first + top_row / each];
  const int highest = idle ? -1 : p.positions_T[first + min(count - 1, (top_row + 15) / each)];
  const float factor = p.scale * unit(p.k_scale);

  C *const copied = reinterpret_cast<C *>(reinterpret_cast<X *>(memory) + (S::coded ? 2 * S::tile : 0));
  constexpr int stride = S::coded ? K : S::stride, part = S::keys * stride;  // keys, values, and again of the next
  const auto fetch = [&](int at, int stage) {
    copy_tile<C, K, stride>(p, p.cache_k, pages_M, group, at, begin, end, copied + stage * 2 * part);
    copy_tile<C, K, stride>(p, p.cache_v, pages_M, group, at, begin, end, copied + (stage * 2 + 1) * part);
    commit_copies();
  };
  int stage = 0;
  fetch(begin / S::keys * S::keys, 0);
  for (int at = begin / S::keys * S::keys; at < end; at += S::keys, stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // the tile is here, and nobody reads the one before
    if (at + S::keys < end) fetch(at + S::keys, stage ^ 1);
    const X *keys, *means;
    if constexpr (S::coded) {
      X *const decoded = reinterpret_cast<X *>(memory);
      decode_tile<X, K>(copied + stage * 2 * part, decoded);
      decode_tile<X, K>(copied + (stage * 2 + 1) * part, decoded + S::tile);
      __syncthreads();
      keys = decoded;
      means = decoded + S::tile;
    } else {
      keys = copied + stage * 2 * part;
      means = keys + part;
    }
    if (at > highest || at + S::keys <= first_seen(p, lowest)) continue;
    const bool masked = at + S::keys - 1 > lowest || at < first_seen(p, highest) || top_row + 16 > count * each;
    warp.add(p, keys, means, at, masked, factor);
  }
  const float by = unit(p.v_scale);
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float sum = warp.rows.sum[row];
    sum += __shfl_xor_sync(~0u, sum, 1);
    sum += __shfl_xor_sync(~0u, sum, 2);
    if (place[row] < 0) continue;
    auto *y = reinterpret_cast<uint32_t *>(static_cast<X *>(p.y_TX) + place[row] + 2 * t);
#pragma unroll
    for (int k = 0; k < K / 8; ++k)
      y[4 * k] = pair_of<X>(warp.values[k][2 * row] / sum * by, warp.values[k][2 * row + 1] / sum * by);
  }
}

}  // namespace ingot::paged
