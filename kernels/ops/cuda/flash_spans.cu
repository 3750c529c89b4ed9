// Attention of single tokens, the work of decoding: blocks take spans of a token's keys (Dao et al., "Flash-Decoding
// for long-context inference", 2023), of up to eight heads that share them, and the last block of a token puts its
// spans together.
#include <algorithm>

#include "ops/cuda/flash_span_warp.h"
#include "ops/cuda/launch.h"

namespace ingot {
namespace {

// The warps' parts together: largest score, sum of weights, and of weights times element i of head h.
template <class C, int K>
__device__ Softmax gather(const SpanShared<C, K> &shared, int h, int i, float &value) {
  float top = -INFINITY;
#pragma unroll
  for (int w = 0; w < span_warps; ++w) top = fmaxf(top, shared.largest[w][h]);
  const float base = top == -INFINITY ? 0.f : top;
  Softmax all{top, 0};
  value = 0;
#pragma unroll
  for (int w = 0; w < span_warps; ++w) {
    const float by = power_of_two(shared.largest[w][h] - base);
    all.sum = fmaf(shared.sums[w][h], by, all.sum);
    value = fmaf(shared.values[w][h][i], by, value);
  }
  return all;
}

template <int K>
__device__ void store_head(const AttentionCall &p, int token, int head, int i, float value, float sum) {
  const float mean = sum > 0 ? value / sum * unit_of(p.v_scale) : value / sum;
  store_mean(p, (static_cast<int64_t>(token) * p.H + head) * K + i, mean);
}

// The spans of a token put together, in order, by the block that finished last.
template <int K>
__device__ void merge_spans(const AttentionCall &p, const Span &span, int64_t first_unit, int units, int first_head,
                            int heads) {
  for (int e = threadIdx.x; e < heads * K; e += span_threads) {
    const int h = e / K, i = e % K;
    Softmax softmax = begin_with_sink(p.sinks_H[first_head + h]);
    float value = 0;
#pragma unroll 4
    for (int s = 0; s < span.spans; ++s) {
      const int64_t at = (first_unit + static_cast<int64_t>(s) * units) * p.unit_heads + h;
      const float2 other = __ldcg(p.sums + at);
      const float other_value = __ldcg(p.values + at * K + i);
      const float2 by = softmax.add(other.x, other.y);
      value = fmaf(value, by.x, other_value * by.y);
    }
    store_head<K>(p, span.token, first_head + h, i, value, softmax.sum);
  }
}

// Blocks take units, a span and up to span_heads heads of a group, as long as there are some.
template <class C, int K>
__global__ void __launch_bounds__(span_threads, SpanShape<C, K>::blocks) attend(const AttentionCall p) {
  let_next_launch();
  __shared__ SpanShared<C, K> shared;
  wait_for_previous();
  const int units = p.G * p.span_chunks, each = p.H / p.G;
  const int64_t all = static_cast<int64_t>(p.list->spans) * units;
  SpanWarp<C, K> warp(p);
  for (int64_t unit = blockIdx.x; unit < all;) {
    if (threadIdx.x == 0 && all > gridDim.x) shared.next = atomicAdd(&p.list->taken, 1);
    const int64_t place = unit / units;
    const int in_token = static_cast<int>(unit % units), chunk = in_token % p.span_chunks;
    const Span span = p.spans[place];
    warp.group = in_token / p.span_chunks;
    warp.first_head = warp.group * each + chunk * span_heads;
    warp.heads = min(span_heads, each - chunk * span_heads);
    warp.read_query(span.token);

    const bool alone = span.spans == 1;
    const int part = p.invariant ? invariant_keys : span.end - span.begin;
    for (int begin = span.begin; begin < span.end; begin += part) {
      warp.clear();
      warp.attend(span, begin, min(span.end, begin + part));
      warp.tell(shared);
      __syncthreads();
      const bool first = begin == span.begin, last = begin + part >= span.end;
      for (int e = threadIdx.x; e < warp.heads * K; e += span_threads) {
        const int h = e / K, i = e % K;
        float value;
        const Softmax now = gather(shared, h, i, value);
        if (!alone) {
          const int64_t at = unit * p.unit_heads + h;
          if (i == 0) p.sums[at] = float2{now.largest, now.sum};
          p.values[at * K + i] = value;
          continue;
        }
        Softmax softmax = first ? begin_with_sink(p.sinks_H[warp.first_head + h]) : shared.softmax[h];
        const float2 by = softmax.add(now.largest, now.sum);
        const float mean = fmaf(first ? 0.f : shared.means[h][i], by.x, value * by.y);
        if (last) {
          store_head<K>(p, span.token, warp.first_head + h, i, mean, softmax.sum);
        } else {
          shared.means[h][i] = mean;
        }
      }
      __syncthreads();  // everybody has read what the warps told, and the softmax before
      if (alone && !last && threadIdx.x < warp.heads) {
        const int h = threadIdx.x;
        float unused;
        const Softmax now = gather(shared, h, 0, unused);
        Softmax softmax = first ? begin_with_sink(p.sinks_H[warp.first_head + h]) : shared.softmax[h];
        softmax.add(now.largest, now.sum);
        shared.softmax[h] = softmax;
      }
      if (alone && !last) __syncthreads();  // before the warps tell again
    }
    if (!alone) {
      const int64_t first_unit = unit - static_cast<int64_t>(span.before) * units;
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) shared.last = atomicAdd(p.finished + first_unit, 1) == span.spans - 1;
      __syncthreads();
      if (shared.last) {
        __threadfence();
        merge_spans<K>(p, span, first_unit, units, warp.first_head, warp.heads);
      }
    }
    if (all <= gridDim.x) return;
    __syncthreads();
    unit = int64_t{gridDim.x} + shared.next;
    __syncthreads();  // before the next number is put there
  }
}

template <class C, int K>
int launch_spans(const AttentionCall &call, IngotCtx *ctx) {
  const int64_t units = static_cast<int64_t>(call.most_spans) * call.G * call.span_chunks;
  const int64_t together = int64_t{ctx->sm_count} * SpanShape<C, K>::blocks;
  const Grid grid{dim3(static_cast<unsigned>(std::min(units, together))), dim3(span_threads)};
  return launch(ctx, "attend_spans", grid, attend<C, K>, call);
}

template <class C>
int with_size(const AttentionCall &call, IngotCtx *ctx) {
  switch (call.K) {
    case 64:
      return launch_spans<C, 64>(call, ctx);
    case 80:
      return launch_spans<C, 80>(call, ctx);
    case 96:
      return launch_spans<C, 96>(call, ctx);
    case 128:
      return launch_spans<C, 128>(call, ctx);
    default:
      return launch_spans<C, 256>(call, ctx);
  }
}

}  // namespace

int attend_spans(const AttentionCall &call, bool codes, IngotCtx *ctx) {
  if (codes) return with_size<uint8_t>(call, ctx);
  return call.is_bf16 ? with_size<BFloat>(call, ctx) : with_size<__half>(call, ctx);
}

}  // namespace ingot
