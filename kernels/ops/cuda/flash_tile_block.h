// What a block does that has a tile of rows: FlashAttention-2 (Dao, arXiv 2307.08691, section 3) over pages.
#pragma once
#include "ops/cuda/flash_tile.h"

namespace ingot {

template <class C, class N, int K>
struct TileBlock {
  using Of = TileShape<C, N, K>;
  using Mma = std::conditional_t<std::is_same_v<N, BFloat>, Bf16Mma, F16Mma>;

  const AttentionCall &p;
  const Tile &tile;
  N *q, *keys, *values;              // [rows, stride], [keys, stride]
  uint8_t *key_codes, *value_codes;  // [keys, K], where the caches hold codes
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;

  // A thread's rows are warp · 16 · tiles + g + 8 r.
  float factor[2 * Of::tiles], slope[2 * Of::tiles];  // of products; of distances
  int position[2 * Of::tiles];
  float largest[2 * Of::tiles], sum[2 * Of::tiles];
  float means[Of::tiles][K / 8][4];

  __device__ int row_of(int r) const { return warp * 16 * Of::tiles + g + 8 * r; }

  __device__ void copy_queries() {
    for (int i = threadIdx.x; i < Of::rows * Of::chunks; i += tile_threads) {
      const int row = i / Of::chunks, chunk = i % Of::chunks, token = row / tile.heads, head = row % tile.heads;
      const bool there = token < tile.tokens;
      const int64_t from =
          (static_cast<int64_t>(tile.token + (there ? token : 0)) * p.H + tile.first_head + head) * K + chunk * 8;
      copy_chunk(address_of(q + row * Of::stride + chunk * 8), static_cast<const uint16_t *>(p.q_THK) + from, there);
    }
  }

  // Keys n … n + keys - 1, or values, of the tile's group; what no row sees is zero.
  __device__ void copy_rows(const void *cache, N *numbers, uint8_t *codes, int n) {
    constexpr int chunks = Of::codes ? Of::code_chunks : Of::chunks, bytes = Of::codes ? 1 : 2;
    const int32_t *pages_M = p.pages_SM + static_cast<int64_t>(tile.sequence) * p.M;
#pragma unroll 4
    for (int i = threadIdx.x; i < Of::keys * chunks; i += tile_threads) {
      const int row = i / chunks, chunk = i % chunks, key = n + row;
      const bool there = key >= tile.first && key <= tile.last;
      const int page = page_of(p, there ? key : tile.first);
      const int64_t from =
          there ? cache_row(p, pages_M[page], key - page * p.W, tile.group) * K * bytes + chunk * 16 : 0;
      const Address to =
          Of::codes ? address_of(codes + row * K + chunk * 16) : address_of(numbers + row * Of::stride + chunk * 8);
      copy_chunk(to, static_cast<const uint8_t *>(cache) + from, there);
    }
    end_copies();
  }

  // Codes of all rows as numbers.
  __device__ void convert(const uint8_t *codes, N *numbers) {
    for (int i = threadIdx.x; i < Of::keys * Of::code_chunks; i += tile_threads) {
      const int row = i / Of::code_chunks, chunk = i % Of::code_chunks;
      const uint4 from = reinterpret_cast<const uint4 *>(codes)[i];
      const uint32_t words[4] = {from.x, from.y, from.z, from.w};
      uint32_t to[8];
#pragma unroll
      for (int w = 0; w < 8; ++w) {
        const auto two = static_cast<__nv_fp8x2_storage_t>(words[w / 2] >> (16 * (w % 2)));
        const __half2_raw numbers_of_two = __nv_cvt_fp8x2_to_halfraw2(two, __NV_E4M3);
        to[w] = numbers_of_two.x | static_cast<uint32_t>(numbers_of_two.y) << 16;
      }
      auto *place = reinterpret_cast<uint4 *>(numbers + row * Of::stride + chunk * 16);
      place[0] = uint4{to[0], to[1], to[2], to[3]};
      place[1] = uint4{to[4], to[5], to[6], to[7]};
    }
  }

  // Rows of bf16 or f16 as f16, divided by a power of two that brings their largest to 1 … 2; a lane has a row.
  __device__ void convert_queries(float *powers) {
    const int row = threadIdx.x;
    if (row >= Of::rows) return;
    auto *words = reinterpret_cast<uint32_t *>(q + row * Of::stride);
    const auto two_of = [&](uint32_t pair) {
      return p.is_bf16 ? __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&pair))
                       : __half22float2(*reinterpret_cast<const __half2 *>(&pair));
    };
    float most = 0;
    for (int w = 0; w < K / 2; ++w) {
      const float2 two = two_of(words[w]);
      most = fmaxf(most, fmaxf(fabsf(two.x), fabsf(two.y)));
    }
    const uint32_t exponent = __float_as_uint(most) & 0x7f800000u;
    const bool usual = exponent && exponent < 254u << 23;
    const float by = usual ? __uint_as_float((254u << 23) - exponent) : 1.f;
    for (int w = 0; w < K / 2; ++w) {
      const float2 two = two_of(words[w]);
      words[w] = pair_of<__half>(two.x * by, two.y * by);
    }
    powers[row] = usual ? __uint_as_float(exponent) : 1.f;
  }

  __device__ void begin(const float *powers) {
    const float scale = p.scale * unit_of(p.k_scale);
#pragma unroll
    for (int r = 0; r < 2 * Of::tiles; ++r) {
      const int row = row_of(r), token = row / tile.heads, head = row % tile.heads;
      const bool there = token < tile.tokens;
      position[r] = there ? p.positions_T[tile.token + token] : tile.last;
      slope[r] = there ? p.slopes_H[tile.first_head + head] * log2_e : 0.f;
      factor[r] = scale * (Of::codes ? powers[row] : 1.f);
      const Softmax softmax = begin_with_sink(there ? p.sinks_H[tile.first_head + head] : 0.f);
      largest[r] = softmax.largest;
      sum[r] = t == 0 ? softmax.sum : 0.f;  // the lanes of a row add up
    }
#pragma unroll
    for (int m = 0; m < Of::tiles; ++m) {
#pragma unroll
      for (int i = 0; i < K / 8; ++i) {
#pragma unroll
        for (float &mean : means[m][i]) mean = 0;
      }
    }
  }

  __device__ void multiply_keys(float (&scores)[Of::tiles][Of::keys / 8][4]) {
    const Address rows = address_of(q + (warp * 16 * Of::tiles + lane % 16) * Of::stride + lane / 16 * 8);
    const Address columns = address_of(keys + (lane / 16 * 8 + lane % 8) * Of::stride + lane / 8 % 2 * 8);
#pragma unroll
    for (int k = 0; k < K; k += 16) {
      uint32_t a[Of::tiles][4];
#pragma unroll
      for (int m = 0; m < Of::tiles; ++m) load_matrices(a[m], rows + (m * 16 * Of::stride + k) * 2);
#pragma unroll
      for (int n = 0; n < Of::keys; n += 16) {
        uint32_t b[4];
        load_matrices(b, columns + (n * Of::stride + k) * 2);
#pragma unroll
        for (int m = 0; m < Of::tiles; ++m) {
          Mma::multiply(scores[m][n / 8], a[m], b[0], b[1]);
          Mma::multiply(scores[m][n / 8 + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // From products to scores in powers of two; what a row does not see is -inf.
  __device__ void score(int n, bool bent, float (&scores)[Of::tiles][Of::keys / 8][4]) const {
    const bool cut = n + Of::keys - 1 > tile.position || (p.window && n <= tile.last - p.window);
#pragma unroll
    for (int m = 0; m < Of::tiles; ++m) {
#pragma unroll
      for (int i = 0; i < Of::keys / 8; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int r = 2 * m + e / 2, key = n + 8 * i + 2 * t + e % 2;
          float &one = scores[m][i][e];
          one *= bent ? factor[r] : factor[r] * log2_e;
          if (bent) {
            if (p.softcap != 0) one = p.softcap * tanhf(one / p.softcap);
            one = fmaf(one, log2_e, slope[r] * static_cast<float>(key - position[r]));
          }
          if (cut) {
            const bool seen = key <= position[r] && (!p.window || key > position[r] - p.window);
            one = seen ? one : -INFINITY;
          }
        }
      }
    }
  }

  // From scores to weights, counted from the largest so far.
  __device__ void weigh(float (&scores)[Of::tiles][Of::keys / 8][4]) {
    float before[2 * Of::tiles];
    bool raised = false;
#pragma unroll
    for (int r = 0; r < 2 * Of::tiles; ++r) {
      const int m = r / 2, e = r % 2 * 2;
      float top = largest[r];
#pragma unroll
      for (int i = 0; i < Of::keys / 8; ++i) top = fmaxf(top, fmaxf(scores[m][i][e], scores[m][i][e + 1]));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
      top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
      const float base = top == -INFINITY ? 0.f : top;
      before[r] = power_of_two(largest[r] - base);
      raised = raised || top > largest[r];
      largest[r] = top;
      float added = 0;
#pragma unroll
      for (int i = 0; i < Of::keys / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float &one = scores[m][i][e + j];
          one = power_of_two(one - base);
          added += one;
        }
      }
      sum[r] = fmaf(sum[r], before[r], added);
    }
    if (!__any_sync(~0u, raised)) return;
#pragma unroll
    for (int m = 0; m < Of::tiles; ++m) {
#pragma unroll
      for (int i = 0; i < K / 8; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) means[m][i][e] *= before[2 * m + e / 2];
      }
    }
  }

  __device__ void multiply_values(const float (&weights)[Of::tiles][Of::keys / 8][4]) {
    const Address rows = address_of(values + lane % 16 * Of::stride + lane / 16 * 8);
#pragma unroll
    for (int n = 0; n < Of::keys; n += 16) {
      uint32_t a[Of::tiles][4];
#pragma unroll
      for (int m = 0; m < Of::tiles; ++m) {
        const float(&first)[4] = weights[m][n / 8], (&second)[4] = weights[m][n / 8 + 1];
        a[m][0] = pair_of<N>(first[0], first[1]);
        a[m][1] = pair_of<N>(first[2], first[3]);
        a[m][2] = pair_of<N>(second[0], second[1]);
        a[m][3] = pair_of<N>(second[2], second[3]);
      }
#pragma unroll
      for (int k = 0; k < K; k += 16) {
        uint32_t b[4];
        load_transposed(b, rows + (n * Of::stride + k) * 2);
#pragma unroll
        for (int m = 0; m < Of::tiles; ++m) {
          Mma::multiply(means[m][k / 8], a[m], b[0], b[1]);
          Mma::multiply(means[m][k / 8 + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  __device__ void store() {
    const float unit = unit_of(p.v_scale);
#pragma unroll
    for (int r = 0; r < 2 * Of::tiles; ++r) {
      float all = sum[r];
      all += __shfl_xor_sync(~0u, all, 1);
      all += __shfl_xor_sync(~0u, all, 2);
      const int row = row_of(r), token = row / tile.heads, head = row % tile.heads;
      if (token >= tile.tokens) continue;
      const float by = unit / all;
      const int64_t at = (static_cast<int64_t>(tile.token + token) * p.H + tile.first_head + head) * K + 2 * t;
      auto *to = static_cast<uint16_t *>(p.y_THK) + at;
#pragma unroll
      for (int i = 0; i < K / 8; ++i) {
        const float a = means[r / 2][i][r % 2 * 2] * by, b = means[r / 2][i][r % 2 * 2 + 1] * by;
        *reinterpret_cast<uint32_t *>(to + 8 * i) = p.is_bf16 ? pair_of<BFloat>(a, b) : pair_of<__half>(a, b);
      }
    }
  }

  __device__ void attend() {
    __shared__ float powers[Of::codes ? Of::rows : 1];
    copy_queries();
    int n = tile.first & -16;
    copy_rows(p.cache_k, keys, key_codes, n);
    wait_for_copies();
    __syncthreads();
    if constexpr (Of::codes) {
      convert_queries(powers);
      __syncthreads();
    }
    begin(powers);
    bool sloping = false;
#pragma unroll
    for (const float one : slope) sloping = sloping || one != 0;
    const bool bent = __syncthreads_or(sloping) || p.softcap != 0;
    while (true) {
      // Here the keys, or their codes, have come, and nobody reads the values before.
      if constexpr (Of::codes) convert(key_codes, keys);
      copy_rows(p.cache_v, values, value_codes, n);
      if constexpr (Of::codes) __syncthreads();
      float scores[Of::tiles][Of::keys / 8][4] = {};
      multiply_keys(scores);
      wait_for_copies();
      __syncthreads();  // the values have come, and nobody reads the keys
      const int next = n + Of::keys;
      if (next <= tile.last) copy_rows(p.cache_k, keys, key_codes, next);
      if constexpr (Of::codes) convert(value_codes, values);
      if (bent) {
        score(n, true, scores);
      } else {
        score(n, false, scores);
      }
      weigh(scores);
      if constexpr (Of::codes) __syncthreads();
      multiply_values(scores);
      if (next > tile.last) break;
      n = next;
      wait_for_copies();
      __syncthreads();
    }
    store();
  }
};

}  // namespace ingot
