// Attention of single tokens, the work of decoding: blocks take spans of a token's keys (Dao et al., "Flash-Decoding
// for long-context inference", 2023), of up to eight heads that share them, and the last block of a token puts its
// spans together.
//
// Keys and values go from memory to registers in the order that tensor cores want, without shared memory: the order of
// a head's elements within a sum, and of keys within a tile, is free. A warp has 16 keys (of codes: 32) at a time.
//   scores[key, head] = K q:   lane 4g+t has 16 bytes of keys g and g+8, and of head g, from the same places
//   means[element, head] = V^T p:   it has 16 bytes of keys 2t, 2t+1, 2t+8, 2t+9, and pairs up the keys of an element
// Weights are two numbers of 16 bits, which together are as good as float32 beside 16-bit values.
#pragma once
#include "ops/cuda/flash_span.h"

namespace ingot {

// A warp's part of a span: its heads' softmax and sums of values so far.
template <class C, int K>
struct SpanWarp {
  using Of = SpanShape<C, K>;
  using Mma = MmaOf<C>;
  using N = NumberOf<C>;

  const AttentionCall &p;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32;
  int group, first_head, heads;                  // of the unit
  uint32_t query[Of::key_loads][Of::key_words];  // of head g
  float factor[2], slope[2];                     // of heads 2t and 2t+1: of a product, of a distance
  float largest[2], sum[2], values[Of::sums][4];

  __device__ explicit SpanWarp(const AttentionCall &call) : p(call) {}

  // Elements of 16 bits as they are; for codes f16, divided by a power of two that brings the head's largest to 1 … 2.
  __device__ void read_query(int token) {
    float power = 1;
    const int head = first_head + g;
    const auto *row = static_cast<const uint16_t *>(p.q_THK) + (static_cast<int64_t>(token) * p.H + head) * K;
    if constexpr (!Of::codes) {
#pragma unroll
      for (int l = 0; l < Of::key_loads; ++l) {
        uint4 four{};
        if (g < heads && l * 4 + t < Of::chunks) four = reinterpret_cast<const uint4 *>(row)[l * 4 + t];
#pragma unroll
        for (int w = 0; w < 4; ++w) query[l][w] = word(four, w);
      }
    } else {
      float largest_one = 0;
#pragma unroll
      for (int l = 0; l < Of::key_loads; ++l) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint4 four{};
          if (g < heads && l * 4 + t < Of::chunks) four = reinterpret_cast<const uint4 *>(row)[(l * 4 + t) * 2 + half];
#pragma unroll
          for (int w = 0; w < 4; ++w) {
            query[l][half * 4 + w] = word(four, w);
            const float2 two = p.is_bf16 ? numbers_of<BFloat>(word(four, w)) : numbers_of<__half>(word(four, w));
            largest_one = fmaxf(largest_one, fmaxf(fabsf(two.x), fabsf(two.y)));
          }
        }
      }
      largest_one = fmaxf(largest_one, __shfl_xor_sync(~0u, largest_one, 1));
      largest_one = fmaxf(largest_one, __shfl_xor_sync(~0u, largest_one, 2));
      const uint32_t exponent = __float_as_uint(largest_one) & 0x7f800000u;
      float by = 1;
      if (exponent && exponent < 254u << 23) {
        power = __uint_as_float(exponent);
        by = __uint_as_float((254u << 23) - exponent);
      }
#pragma unroll
      for (int l = 0; l < Of::key_loads; ++l) {
#pragma unroll
        for (int w = 0; w < Of::key_words; ++w) {
          const float2 two = p.is_bf16 ? numbers_of<BFloat>(query[l][w]) : numbers_of<__half>(query[l][w]);
          query[l][w] = pair_of<__half>(two.x * by, two.y * by);
        }
      }
    }
    const float scale = p.scale * unit_of(p.k_scale);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      factor[h] = scale * __shfl_sync(~0u, power, (2 * t + h) * 4);
      slope[h] = 2 * t + h < heads ? p.slopes_H[first_head + 2 * t + h] * log2_e : 0.f;
    }
  }

  __device__ void clear() {
#pragma unroll
    for (int h = 0; h < 2; ++h) largest[h] = -INFINITY, sum[h] = 0;
#pragma unroll
    for (int i = 0; i < Of::sums; ++i) {
#pragma unroll
      for (float &value : values[i]) value = 0;
    }
  }

  // Numbers of the pages of a tile's keys, 16 by 16.
  __device__ void read_pages(const int32_t *pages_M, int tile, int end, int (&pages)[Of::rows16]) {
#pragma unroll
    for (int r = 0; r < Of::rows16; ++r) {
      const int n = tile + 16 * r;
      pages[r] = n < end ? pages_M[page_of(p, n)] : 0;
    }
  }

  // Keys begin … end - 1, which stand in the warps' tiles in turn.
  __device__ void attend(const Span &span, int begin, int end) {
    const int32_t *pages_M = p.pages_SM + static_cast<int64_t>(span.sequence) * p.M;
    int tile = begin + warp * Of::keys, next_pages[Of::rows16];
    read_pages(pages_M, tile, end, next_pages);
    for (; tile < end; tile += span_warps * Of::keys) {
      int pages[Of::rows16];
#pragma unroll
      for (int r = 0; r < Of::rows16; ++r) pages[r] = next_pages[r];
      uint4 keys[Of::rows16][2][Of::key_loads], vectors[Of::rows16][4][Of::value_loads];
      const bool seen = tile + Of::keys > span.first;
#pragma unroll
      for (int r = 0; r < Of::rows16; ++r) {
        const int n = tile + 16 * r, in_page = n - page_of(p, n) * p.W;
        const int64_t row = cache_row(p, pages[r], in_page, group) * K;
        const C *key = static_cast<const C *>(p.cache_k) + row, *value = static_cast<const C *>(p.cache_v) + row;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int k = g + 8 * i;
          const bool there = seen && n + k >= span.first && n + k < end;
#pragma unroll
          for (int l = 0; l < Of::key_loads; ++l) {
            const int c = l * 4 + t;
            keys[r][i][l] = uint4{};
            if (there && c < Of::chunks) keys[r][i][l] = load_once(key + k * K + c * Of::chunk);
          }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int k = 2 * t + i % 2 + i / 2 * 8;
          const bool there = seen && n + k >= span.first && n + k < end;
#pragma unroll
          for (int l = 0; l < Of::value_loads; ++l) {
            const int c = l * 8 + g;
            vectors[r][i][l] = uint4{};
            if (there && c < Of::chunks) vectors[r][i][l] = load_once(value + k * K + c * Of::chunk);
          }
        }
      }
      read_pages(pages_M, tile + span_warps * Of::keys, end, next_pages);
      if (!seen) continue;
      float scores[Of::rows16][4] = {};
      multiply_keys(keys, scores);
      uint32_t weights[Of::rows16][2][2];
      weigh(span, tile, end, scores, weights);
      multiply_values(vectors, weights);
    }
  }

  __device__ void multiply_keys(const uint4 (&keys)[Of::rows16][2][Of::key_loads], float (&scores)[Of::rows16][4]) {
#pragma unroll
    for (int r = 0; r < Of::rows16; ++r) {
#pragma unroll
      for (int l = 0; l < Of::key_loads; ++l) {
#pragma unroll
        for (int u = 0; u < Of::key_words / 2; ++u) {
          uint32_t a[4];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            if constexpr (Of::codes) {
              const uint32_t four = word(keys[r][i][l], u);
              a[i] = two_f16(four);
              a[2 + i] = two_f16(four >> 16);
            } else {
              a[i] = word(keys[r][i][l], 2 * u);
              a[2 + i] = word(keys[r][i][l], 2 * u + 1);
            }
          }
          Mma::multiply(scores[r], a, query[l][2 * u], query[l][2 * u + 1]);
        }
      }
    }
  }

  // From products to weights, of head g and keys 2t, 2t+1 and 2t+8, 2t+9, in two parts each.
  __device__ void weigh(const Span &span, int tile, int end, float (&scores)[Of::rows16][4],
                        uint32_t (&weights)[Of::rows16][2][2]) {
    float top[2] = {largest[0], largest[1]};
#pragma unroll
    for (int r = 0; r < Of::rows16; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = tile + 16 * r + g + i / 2 * 8, h = i % 2;
        float &score = scores[r][i];
        score *= factor[h];
        if (p.softcap != 0) score = p.softcap * tanhf(score / p.softcap);
        score = fmaf(score, log2_e, slope[h] * static_cast<float>(n - span.position));
        if (n < span.first || n >= end) score = -INFINITY;
        top[h] = fmaxf(top[h], score);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2)
        top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], distance));
    }
    const float base[2] = {top[0] == -INFINITY ? 0.f : top[0], top[1] == -INFINITY ? 0.f : top[1]};
    if (__any_sync(~0u, top[0] > largest[0] || top[1] > largest[1])) {
      const float by[2] = {power_of_two(largest[0] - base[0]), power_of_two(largest[1] - base[1])};
#pragma unroll
      for (int h = 0; h < 2; ++h) largest[h] = top[h], sum[h] *= by[h];
#pragma unroll
      for (int i = 0; i < Of::sums; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) values[i][j] *= by[j % 2];
      }
    }
#pragma unroll
    for (int r = 0; r < Of::rows16; ++r) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float a = power_of_two(scores[r][2 * i] - base[0]), b = power_of_two(scores[r][2 * i + 1] - base[1]);
        sum[0] += a;
        sum[1] += b;
        const uint32_t high = pair_of<N>(a, b);
        const float2 rounded = numbers_of<N>(high);
        weights[r][0][i] = transposed(high);
        weights[r][1][i] = transposed(pair_of<N>(a - rounded.x, b - rounded.y));
      }
    }
  }

  __device__ void multiply_values(const uint4 (&vectors)[Of::rows16][4][Of::value_loads],
                                  const uint32_t (&weights)[Of::rows16][2][2]) {
#pragma unroll
    for (int r = 0; r < Of::rows16; ++r) {
#pragma unroll
      for (int l = 0; l < Of::value_loads; ++l) {
#pragma unroll
        for (int w = 0; w < 4; ++w) {
#pragma unroll
          for (int half = 0; half < (Of::codes ? 2 : 1); ++half) {
            uint32_t a[4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              const uint32_t even = word(vectors[r][2 * i][l], w), odd = word(vectors[r][2 * i + 1][l], w);
              if constexpr (Of::codes) {
                const uint32_t mixed = __byte_perm(even, odd, half ? 0x7362 : 0x5140);
                a[2 * i] = two_f16(mixed);
                a[2 * i + 1] = two_f16(mixed >> 16);
              } else {
                a[2 * i] = low_halves(even, odd);
                a[2 * i + 1] = high_halves(even, odd);
              }
            }
            float(&to)[4] = values[l * Of::key_words + (Of::codes ? 2 * w + half : w)];
            Mma::multiply(to, a, weights[r][0][0], weights[r][0][1]);
            Mma::multiply(to, a, weights[r][1][0], weights[r][1][1]);
          }
        }
      }
    }
  }

  // Leaves the warp's softmax and sums for the block.
  __device__ void tell(SpanShared<C, K> &shared) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int distance = 4; distance < 32; distance *= 2) sum[h] += __shfl_xor_sync(~0u, sum[h], distance);
      const int head = 2 * t + h;
      if (head >= heads) continue;
      if (g == 0) {
        shared.largest[warp][head] = largest[h];
        shared.sums[warp][head] = sum[h];
      }
#pragma unroll
      for (int l = 0; l < Of::value_loads; ++l) {
        const int c = l * 8 + g;
        if (c >= Of::chunks) continue;
        float *to = shared.values[warp][head] + c * Of::chunk;
#pragma unroll
        for (int w = 0; w < Of::key_words; w += 2) {
          const float(&a)[4] = values[l * Of::key_words + w], (&b)[4] = values[l * Of::key_words + w + 1];
          *reinterpret_cast<float4 *>(to + 2 * w) = float4{a[h], a[2 + h], b[h], b[2 + h]};
        }
      }
    }
  }
};

}  // namespace ingot
