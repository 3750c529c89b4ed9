// What the kernels of PagedAttention and RotaryPagedAttention share: the call, and the list of work that the first of
// them leaves for the others.
//
// append() rotates and stores, and its first block lists what is to be done: spans of keys of single tokens for
// attend_spans(), and tiles of neighbouring tokens for attend_tiles(). So nothing of a step is known on the host but
// its sizes, and a captured graph serves steps of any lengths.
#pragma once
#include <cstdint>

#include "ops/cuda/launch.h"
#include "ops/cuda/vectors.h"

namespace ingot {

constexpr int span_heads = 8;          // at most so many heads of a group share the keys of a span: a unit
constexpr int wanted_units = 2048;     // about: five turns of all blocks of a large GPU
constexpr int invariant_keys = 256;    // keys of a part where bits must not depend on the step
constexpr int invariant_units = 8192;  // up to so many have a part each, else whole rows

// Keys begin … end - 1 of one token; all its spans follow one another.
struct alignas(16) Span {
  int32_t token, sequence, position, first;  // first: the first key that the token sees
  int32_t begin, end;
  int32_t spans, before;  // of the token; how many of them stand before this one
};

struct WorkList {
  int32_t spans, tiles;
  int32_t taken;  // units of spans, beyond one for each block
  int32_t unused;
};

struct AttentionCall {
  const void *q_THK;  // rotated
  void *cache_k, *cache_v, *y_THK;
  const int32_t *pages_SM, *positions_T, *sequences_T;
  const float *slopes_H, *sinks_H, *k_scale, *v_scale;  // the scales may be NULL

  WorkList *list;
  Span *spans;        // [most_spans]
  int32_t *tiles;     // [most_tiles]: first token
  int32_t *finished;  // [units]: how many spans of a token are finished; counted at its first span
  float2 *sums;       // [units, unit_heads]: largest score, sum of weights
  float *values;      // [units, unit_heads, K]: sum of weights times values

  int64_t M;
  int32_t T, S, P, H, G, W, K, window;
  int32_t most_spans, most_tiles;
  int32_t unit_heads, span_chunks;               // heads of a group that share a span, and how often it takes so many
  int32_t tile_heads, tile_chunks, tile_tokens;  // the same of a tile; tokens of a tile
  uint64_t page_factor;                          // see page_of
  float scale, softcap;
  bool every_token;  // all tokens are spans, whatever stands beside them
  bool invariant;    // spans are cut at multiples of invariant_keys, the same in every step
  bool is_bf16;      // q and y; else f16
};

__device__ inline float unit_of(const float *scale) { return scale ? *scale : 1.f; }

__device__ inline int first_seen(const AttentionCall &p, int position) {
  return p.window && position >= p.window ? position - p.window + 1 : 0;
}

// Which of a sequence's pages holds key n, and where in it n stands. Pages hold a multiple of 16 tokens.
__device__ inline int page_of(const AttentionCall &p, int n) {
  return static_cast<int>(static_cast<uint64_t>(n / 16) * p.page_factor >> 32);
}

// The row of page `page` (of the table; one that is not there reads the last) where key n of `group` stands.
__device__ inline int64_t cache_row(const AttentionCall &p, int page, int in_page, int group) {
  const int64_t known = min(static_cast<uint32_t>(page), static_cast<uint32_t>(p.P - 1));
  return (known * p.G + group) * p.W + in_page;
}

constexpr float log2_e = 1.4426950408889634f;

// 2^x, 0 where it is less than 2^-126.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// How far a softmax has come: the largest score, in powers of two, and the sum of weights counted from it.
struct Softmax {
  float largest, sum;

  // What the values before are to be multiplied by, and those that come with (other, other_sum).
  __device__ float2 add(float other, float other_sum) {
    const float top = fmaxf(largest, other), base = top == -INFINITY ? 0.f : top;
    const float before = power_of_two(largest - base), now = power_of_two(other - base);
    largest = top;
    sum = fmaf(sum, before, other_sum * now);
    return float2{before, now};
  }
};

// A sink is one more score, without a value.
__device__ inline Softmax begin_with_sink(float sink) { return {sink * log2_e, sink == -INFINITY ? 0.f : 1.f}; }

// Where a head's keys have all been seen.
__device__ inline void store_mean(const AttentionCall &p, int64_t at, float value) {
  if (p.is_bf16) {
    static_cast<__nv_bfloat16 *>(p.y_THK)[at] = from_float<__nv_bfloat16>(value);
  } else {
    static_cast<__half *>(p.y_THK)[at] = from_float<__half>(value);
  }
}

// What append() is given beside the call.
struct AppendCall {
  const void *q, *k, *v;         // rows of heads; q NULL: it is neither rotated nor copied
  int64_t q_row, k_row, v_row;   // elements from one token to the next
  void *q_THK;                   // where q goes, rotated
  const float *cos_LR, *sin_LR;  // NULL: nothing is rotated
  const int32_t *cells_T;
  int32_t L, R;
  bool interleaved;
};

// Each launches on the context's stream; 0, or nonzero after ctx->host->error.
int append_and_list(const AttentionCall &call, const AppendCall &append, bool codes, IngotCtx *ctx);
int attend_spans(const AttentionCall &call, bool codes, IngotCtx *ctx);
int attend_tiles(const AttentionCall &call, bool codes, IngotCtx *ctx);

// Allows attend_tiles() the shared memory that it needs; 0, or nonzero after ctx->host->error.
int allow_tiles(int32_t K, bool codes, bool is_bf16, IngotCtx *ctx);
int64_t tile_bytes(int32_t K, bool codes);  // of shared memory
int32_t tile_rows(int32_t K);

}  // namespace ingot
