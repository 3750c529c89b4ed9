// Attention of a step's tokens over the paged cache, as PagedAttention asks it of an instruction set.
//
// A token's keys are taken in blocks that begin at multiples of 32 positions, with a running maximum and sum
// (Milakov, Gimelshein, "Online normalizer calculation for softmax", arXiv:1805.02867). What a token and head do with
// a block depends on nothing else, so the result is the same, bit for bit, whatever stands in the step beside it and
// however the tokens came into the cache.
#pragma once
#include <cstdint>

namespace ingot {

constexpr int64_t attention_block = 32;  // keys
constexpr int64_t attention_rows = 16;   // tokens x heads of one group that share the keys they read
constexpr int64_t max_head_size = 256;

struct Attention {
  int64_t T, H, G, K, W, M;
  int64_t window;        // 0: all
  float scale, softcap;  // softcap 0: none
  float v_scale;         // what a value of the cache is multiplied with; a key's is part of `scale`
  int32_t dtype;         // of q and y
  int32_t cache_dtype;
  const void *q_THK;
  void *y_THK;
  const void *cache_k_PGWK, *cache_v_PGWK;
  const int32_t *pages_SM, *positions_T, *sequences_T;
  const float *slopes_H, *sinks_H;  // NULL: none
};

// Computes units begin … end-1; unit g * T + t is token t with the query heads of group g.
using AttentionKernel = void (*)(const Attention &, int64_t begin, int64_t end);

AttentionKernel attention_portable();
#if defined(__x86_64__)
AttentionKernel attention_avx2();
AttentionKernel attention_avx512();
#endif

}  // namespace ingot
