// The list of a step's work, which one block of append() makes.
#pragma once
#include "ops/cuda/flash_call.h"

namespace ingot {

constexpr int append_threads = 256, append_warps = append_threads / 32;

// The sum of everybody's number before mine; `total` of all. All threads come here; `shared` is free again afterwards.
__device__ inline int sum_before(int mine, int (&shared)[append_warps + 1], int &total) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = mine;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int other = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == 31) shared[warp] = sum;
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < append_warps; ++w) {
    if (w < warp) before += shared[w];
    total += shared[w];
  }
  __syncthreads();
  return before + sum - mine;
}

// The largest of everybody's number before mine, at least 0.
__device__ inline int largest_before(int mine, int (&shared)[append_warps + 1]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int largest = mine;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int other = __shfl_up_sync(~0u, largest, distance);
    if (lane >= distance) largest = max(largest, other);
  }
  if (lane == 31) shared[warp] = largest;
  const int left = __shfl_up_sync(~0u, largest, 1);
  __syncthreads();
  int before = lane ? max(left, 0) : 0;
  for (int w = 0; w < warp; ++w) before = max(before, shared[w]);
  __syncthreads();
  return before;
}

__device__ inline unsigned long long sum_of_all(unsigned long long mine, unsigned long long (&shared)[append_warps]) {
#pragma unroll
  for (int distance = 16; distance; distance /= 2) mine += __shfl_xor_sync(~0u, mine, distance);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
  __syncthreads();
  unsigned long long sum = 0;
#pragma unroll
  for (int w = 0; w < append_warps; ++w) sum += shared[w];
  __syncthreads();
  return sum;
}

struct Neighbours {
  bool begins, alone;  // whether the token is its sequence's first of the step; whether it is its only one
};

__device__ inline Neighbours neighbours(const AttentionCall &p, int t) {
  const int own = p.sequences_T[t];
  const bool begins = t == 0 || p.sequences_T[t - 1] != own, ends = t + 1 == p.T || p.sequences_T[t + 1] != own;
  return {begins, begins && ends};
}

// Where the first span of a token begins: a multiple of 16, which is where pages may end.
__device__ inline int origin_of(const AttentionCall &p, int first) {
  return p.invariant ? first & -invariant_keys : first & -16;
}

// The keys of a span: as many as make about `wanted_units` of all.
__device__ inline int span_keys(const AttentionCall &p, unsigned long long keys, unsigned long long parts) {
  constexpr int longest = 1 << 30;
  const unsigned long long units = static_cast<unsigned long long>(p.G) * p.span_chunks;
  if (p.invariant) return parts * units <= invariant_units && parts <= p.most_spans ? invariant_keys : longest;
  const unsigned long long each = (keys * units + wanted_units - 1) / wanted_units;
  return each > longest / 2 ? longest : max(64, static_cast<int>((each + 63) / 64 * 64));
}

// One block lists the spans of tokens that stand alone, and the tiles of the others. A thread has tokens that follow
// one another.
__device__ inline void list_work(const AttentionCall &p) {
  __shared__ unsigned long long long_sums[append_warps];
  __shared__ int sums[append_warps + 1];
  const int each = (p.T + append_threads - 1) / append_threads;
  const int from = min(p.T, static_cast<int>(threadIdx.x) * each), to = min(p.T, from + each);
  unsigned long long keys = 0, parts = 0;
  int latest = 0;  // the last first token among mine
  for (int t = from; t < to; ++t) {
    const Neighbours beside = neighbours(p, t);
    if (beside.begins) latest = t;
    if (!p.every_token && !beside.alone) continue;
    const int position = p.positions_T[t], count = position + 1 - origin_of(p, first_seen(p, position));
    keys += count;
    parts += (count + invariant_keys - 1) / invariant_keys;
  }
  keys = sum_of_all(keys, long_sums);
  parts = sum_of_all(parts, long_sums);
  const int span = span_keys(p, keys, parts);

  int mine = 0, total = 0;
  for (int t = from; t < to; ++t) {
    if (!p.every_token && !neighbours(p, t).alone) continue;
    const int position = p.positions_T[t];
    mine += (position - origin_of(p, first_seen(p, position))) / span + 1;
  }
  int place = sum_before(mine, sums, total);
  for (int t = from; t < to; ++t) {
    if (!p.every_token && !neighbours(p, t).alone) continue;
    Span one{};
    one.token = t;
    one.sequence = p.sequences_T[t];
    one.position = p.positions_T[t];
    one.first = first_seen(p, one.position);
    const int origin = origin_of(p, one.first);
    one.spans = (one.position - origin) / span + 1;
    for (one.before = 0; one.before < one.spans; ++one.before, ++place) {
      if (place >= p.most_spans) break;
      one.begin = origin + one.before * span;
      one.end = one.position - one.begin < span ? one.position + 1 : one.begin + span;
      p.spans[place] = one;
      if (one.before || one.spans == 1) continue;
      const int units = p.G * p.span_chunks;
      for (int unit = 0; unit < units; ++unit) p.finished[static_cast<int64_t>(place) * units + unit] = 0;
    }
  }

  int tiles = 0;
  if (!p.every_token) {
    const int begin_before = largest_before(latest, sums);
    int begin = begin_before, count = 0;
    for (int t = from; t < to; ++t) {
      const Neighbours beside = neighbours(p, t);
      if (beside.begins) begin = t;
      count += !beside.alone && (t - begin) % p.tile_tokens == 0;
    }
    int at = sum_before(count, sums, tiles);
    begin = begin_before;
    for (int t = from; t < to; ++t) {
      const Neighbours beside = neighbours(p, t);
      if (beside.begins) begin = t;
      if (beside.alone || (t - begin) % p.tile_tokens) continue;
      if (at < p.most_tiles) p.tiles[at] = t;
      ++at;
    }
  }
  if (threadIdx.x == 0) *p.list = {min(total, p.most_spans), min(tiles, p.most_tiles), 0, 0};
}

}  // namespace ingot
