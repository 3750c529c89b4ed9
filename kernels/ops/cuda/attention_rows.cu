// PagedAttention row by row: each token is a row of its own, whatever step it comes in, so that its bits depend on its
// own sequence only. Its keys are read in parts of 256, counted from position 0 (Dao et al., "Flash-Decoding for
// long-context inference", 2023); every part has its softmax with a maximum of its own, and the parts are merged in
// their order. Steps of few tokens give each part a block; in longer ones a block goes through all parts of a row.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "ops/cuda/kernel_of.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/table.h"
#include "ops/cuda/vectors.h"

namespace ingot {
namespace {

constexpr int threads = 128, warps = threads / 32;
constexpr int part_keys = 256;            // a multiple of the keys that a block reads at a time
constexpr int64_t most_split_rows = 256;  // steps of more tokens have blocks enough

enum Input { q, k, v, cache_k, cache_v, pages, cells, positions, sequences, slopes, sinks, k_scale, v_scale };

struct Rows {
  const void *q_TX, *k_TY, *v_TY;
  void *cache_k, *cache_v, *y_TX;
  const int32_t *pages_SM, *cells_T, *positions_T, *sequences_T;
  const float *slopes_H, *sinks_H, *k_scale, *v_scale;  // the scales may be NULL
  float *partials;                                      // [T, H, parts, 2 + K]: largest, sum, means times sum
  int64_t T, S, M, P;
  int32_t H, G, W, K, window, parts;
  float scale, softcap;
};

__device__ inline float unit(const float *scale) { return scale ? *scale : 1.f; }
__device__ inline float power(float x) { return exp2f(x * 1.4426950408889634f); }
__device__ inline int first_seen(const Rows &p, int position) {
  return p.window && position >= p.window ? position - p.window + 1 : 0;
}

// Eight numbers of a cache row.
__device__ inline void read_eight(const __half *row, int i, float (&to)[8]) { to_floats(load_vector(row, i), to); }
__device__ inline void read_eight(const __nv_bfloat16 *row, int i, float (&to)[8]) {
  to_floats(load_vector(row, i), to);
}
__device__ inline void read_eight(const uint8_t *row, int i, float (&to)[8]) {
  const uint2 codes = reinterpret_cast<const uint2 *>(row)[i];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const uint32_t four = j ? codes.y : codes.x;
    const float2 low = from_e4m3(static_cast<uint16_t>(four)), high = from_e4m3(static_cast<uint16_t>(four >> 16));
    to[4 * j] = low.x;
    to[4 * j + 1] = low.y;
    to[4 * j + 2] = high.x;
    to[4 * j + 3] = high.y;
  }
}

// Writes keys and values into their cells, eight numbers a thread.
template <class X, class C>
__global__ void __launch_bounds__(threads) append(const Rows p) {
  let_next_launch();
  wait_for_previous();
  const int columns = p.G * p.K / 8, i = static_cast<int>(blockIdx.x) * threads + threadIdx.x;
  if (i >= 2 * columns) return;
  const bool value = i >= columns;
  const int column = value ? i - columns : i, group = column / (p.K / 8), eight = column % (p.K / 8);
  const float by = unit(value ? p.v_scale : p.k_scale);
  for (int64_t t = blockIdx.y; t < p.T; t += gridDim.y) {
    const int64_t cell = p.cells_T[t], page = cell / p.W;
    if (cell < 0 || page >= p.P) continue;
    const auto x = load_vector(static_cast<const X *>(value ? p.v_TY : p.k_TY) + t * p.G * p.K, column);
    const int64_t row = ((page * p.G + group) * p.W + cell % p.W) * p.K;
    C *to = static_cast<C *>(value ? p.cache_v : p.cache_k) + row;
    if constexpr (sizeof(C) == 2) {
      if (by == 1.f) {
        store_vector(to, eight, x);
        continue;
      }
    }
    float numbers[8];
    to_floats(x, numbers);
#pragma unroll
    for (float &number : numbers) number = __fdiv_rn(number, by);
    if constexpr (sizeof(C) == 2) {
      store_vector(to, eight, from_floats<X>(numbers));
    } else {
      uint2 codes;
      codes.x = to_e4m3(numbers[0], numbers[1]) | static_cast<uint32_t>(to_e4m3(numbers[2], numbers[3])) << 16;
      codes.y = to_e4m3(numbers[4], numbers[5]) | static_cast<uint32_t>(to_e4m3(numbers[6], numbers[7])) << 16;
      reinterpret_cast<uint2 *>(to)[eight] = codes;
    }
  }
}

// What part of a softmax is known: the largest score, the sum of weights, and of weights times values.
template <int count>
struct Mean {
  float largest = -INFINITY, sum = 0, values[count] = {};

  // Its numbers counted from `top`, which is at least its largest.
  __device__ void rescale(float top) {
    const float factor = largest == -INFINITY ? 0.f : power(largest - top);
    largest = top;
    sum *= factor;
#pragma unroll
    for (float &value : values) value *= factor;
  }
};

// The token's own key and value, as the first of a warp's keys.
template <class X, int K, int heads, int lanes>
__device__ void attend_own(const Rows &p, int64_t t, int group, int first_head, int count, bool puts,
                           const float (&query)[heads][8], Mean<8> (&mean)[heads]) {
  const int lane = threadIdx.x % lanes;
  const bool there = lane < K / 8, mine = threadIdx.x % 32 < lanes;
  float key[8] = {}, value[8] = {};
  if (there && mine) {
    const auto own_key = load_vector(static_cast<const X *>(p.k_TY) + (t * p.G + group) * K, lane);
    const auto own_value = load_vector(static_cast<const X *>(p.v_TY) + (t * p.G + group) * K, lane);
    to_floats(own_key, key);
    to_floats(own_value, value);
    const int64_t cell = p.cells_T[t], page = cell / p.W;
    if (puts && cell >= 0 && page < p.P) {
      const int64_t row = ((page * p.G + group) * p.W + cell % p.W) * K;
      store_vector(static_cast<X *>(p.cache_k) + row, lane, own_key);
      store_vector(static_cast<X *>(p.cache_v) + row, lane, own_value);
    }
  }
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    if (h >= count) break;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(query[h][j], key[j], sum);
#pragma unroll
    for (int distance = lanes / 2; distance; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    float s = p.scale * sum;
    if (p.softcap != 0) s = p.softcap * tanhf(s / p.softcap);
    if (!mine) continue;
    mean[h].largest = s;
    mean[h].sum = 1;
#pragma unroll
    for (int j = 0; j < 8; ++j) mean[h].values[j] = value[j];
  }
}

// Keys begin…end of row (t, group): the warps' keys in turn from `origin` on, `lanes` lanes a key, eight elements a
// lane. Afterwards shared[h][0…K+1] hold largest, sum and values of the heads first_head + h. All threads come here.
// own, where the kernel appends: the token's own key belongs to it, too, which is not in the cache yet; puts: and is to
// be put there.
template <class X, class C, int K, int heads, bool appends = false>
__device__ void attend_keys(const Rows &p, int64_t t, int group, int first_head, int count, int origin, int begin,
                            int end, bool own, bool puts, float (&shared)[warps][heads][K + 2]) {
  constexpr int used = K / 8, lanes = used <= 8 ? 8 : used <= 16 ? 16 : 32, keys = 32 / lanes, ahead = 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % lanes, mine = threadIdx.x % 32 / lanes;
  const int position = p.positions_T[t];
  const int32_t *pages_M = p.pages_SM + static_cast<int64_t>(p.sequences_T[t]) * p.M;
  const float scale = p.scale * unit(p.k_scale);
  const bool there = lane < used;

  float query[heads][8];
#pragma unroll
  for (int h = 0; h < heads; ++h) {
#pragma unroll
    for (float &number : query[h]) number = 0;
    if (h < count && there)
      to_floats(load_vector(static_cast<const X *>(p.q_TX) + (t * p.H + first_head + h) * K, lane), query[h]);
  }
  Mean<8> mean[heads];
  if constexpr (appends) {
    if (own && warp == 0) attend_own<X, K, heads, lanes>(p, t, group, first_head, count, puts, query, mean);
  }
  // Page numbers come one turn before their keys.
  int next_page[ahead];
  const auto read_pages = [&](int at) {
#pragma unroll
    for (int a = 0; a < ahead; ++a) {
      const int n = at + a * warps * keys;
      next_page[a] = n < end ? pages_M[n / p.W] : 0;
    }
  };
  // Keys stand in fixed places, so that a window that begins within a part changes nothing but what is left out.
  const int from = origin + warp * keys + mine;
  read_pages(from);
  for (int at = from; at - mine < end; at += ahead * warps * keys) {
    float key[ahead][8], value[ahead][8];
    bool seen[ahead];
    int page_of[ahead];
#pragma unroll
    for (int a = 0; a < ahead; ++a) page_of[a] = next_page[a];
    read_pages(at + ahead * warps * keys);
#pragma unroll
    for (int a = 0; a < ahead; ++a) {
      const int n = at + a * warps * keys;
      seen[a] = n >= begin && n < end;
#pragma unroll
      for (int j = 0; j < 8; ++j) key[a][j] = value[a][j] = 0;
      if (!seen[a] || !there) continue;
      const int64_t page = min(max(int64_t{page_of[a]}, int64_t{0}), p.P - 1);
      const int64_t row = ((page * p.G + group) * p.W + n % p.W) * K;
      read_eight(static_cast<const C *>(p.cache_k) + row, lane, key[a]);
      read_eight(static_cast<const C *>(p.cache_v) + row, lane, value[a]);
    }
#pragma unroll
    for (int h = 0; h < heads; ++h) {
      if (h >= count) break;
      const float slope = p.slopes_H[first_head + h];
      float score[ahead], top = mean[h].largest;
#pragma unroll
      for (int a = 0; a < ahead; ++a) {
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 8; ++j) sum = fmaf(query[h][j], key[a][j], sum);
#pragma unroll
        for (int distance = lanes / 2; distance; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
        float s = scale * sum;
        if (p.softcap != 0) s = p.softcap * tanhf(s / p.softcap);
        s += slope * static_cast<float>(at + a * warps * keys - position);
        score[a] = seen[a] ? s : -INFINITY;
        top = fmaxf(top, score[a]);
      }
      if (top == -INFINITY) continue;
      if (top > mean[h].largest) mean[h].rescale(top);
#pragma unroll
      for (int a = 0; a < ahead; ++a) {
        const float weight = seen[a] ? power(score[a] - top) : 0.f;
        mean[h].sum += weight;
#pragma unroll
        for (int j = 0; j < 8; ++j) mean[h].values[j] = fmaf(weight, value[a][j], mean[h].values[j]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    if (h >= count) break;
#pragma unroll
    for (int distance = lanes; distance < 32; distance *= 2) {
      const float other = __shfl_xor_sync(~0u, mean[h].largest, distance), top = fmaxf(mean[h].largest, other);
      if (top != -INFINITY) mean[h].rescale(top);
      mean[h].sum += __shfl_xor_sync(~0u, mean[h].sum, distance);
#pragma unroll
      for (float &number : mean[h].values) number += __shfl_xor_sync(~0u, number, distance);
    }
    if (mine == 0) {
      float *to = shared[warp][h];
      if (lane == 0) {
        to[0] = mean[h].largest;
        to[1] = mean[h].sum;
      }
#pragma unroll
      for (int j = 0; j < 8 && there; ++j) to[2 + lane * 8 + j] = mean[h].values[j];
    }
  }
  __syncthreads();
  // The warps' parts in their order; a thread has some elements of all heads.
  for (int h = 0; h < count; ++h) {
    float top = -INFINITY;
#pragma unroll
    for (int w = 0; w < warps; ++w) top = fmaxf(top, shared[w][h][0]);
    float factor[warps];
#pragma unroll
    for (int w = 0; w < warps; ++w) factor[w] = shared[w][h][0] == -INFINITY ? 0.f : power(shared[w][h][0] - top);
    float merged[(K + 1 + threads) / threads];
    int n = 0;
    for (int i = 1 + threadIdx.x; i < K + 2; i += threads, ++n) {
      merged[n] = 0;
#pragma unroll
      for (int w = 0; w < warps; ++w) merged[n] = fmaf(factor[w], shared[w][h][i], merged[n]);
    }
    __syncthreads();  // all factors are known before anything is replaced
    n = 0;
    for (int i = 1 + threadIdx.x; i < K + 2; i += threads, ++n) shared[0][h][i] = merged[n];
    if (threadIdx.x == 0) shared[0][h][0] = top;
  }
  __syncthreads();
}

// The part `part` of a row.
template <class X, class C, int K, int heads>
__device__ void attend_part(const Rows &p, int64_t t, int group, int first_head, int count, int part,
                            float (&shared)[warps][heads][K + 2]) {
  const int position = p.positions_T[t], origin = part * part_keys;
  attend_keys<X, C, K, heads>(p, t, group, first_head, count, origin, max(origin, first_seen(p, position)),
                              min(origin + part_keys, position + 1), false, false, shared);
}

// The parts before, and one more.
struct Merge {
  float largest, sum;

  // What the values before are multiplied by, and those that come.
  __device__ float2 add(float other_largest, float other_sum) {
    const float top = fmaxf(largest, other_largest);
    if (top == -INFINITY) return float2{0, 0};
    const float before = largest == -INFINITY ? 0.f : power(largest - top);
    const float now = other_largest == -INFINITY ? 0.f : power(other_largest - top);
    largest = top;
    sum = fmaf(sum, before, other_sum * now);
    return float2{before, now};
  }
};

__device__ inline Merge begin_with(float sink) { return {sink, sink == -INFINITY ? 0.f : 1.f}; }

template <class X>
__device__ void store_mean(const Rows &p, int64_t t, int head, int i, float value, float sum) {
  const float mean = sum > 0 ? value / sum * unit(p.v_scale) : value / sum;
  static_cast<X *>(p.y_TX)[(t * p.H + head) * p.K + i] = from_float<X>(mean);
}

// A block has one part of a row and up to `heads` heads of a group.
template <class X, class C, int K, int heads>
__global__ void __launch_bounds__(threads) attend_parts(const Rows p) {
  let_next_launch();
  wait_for_previous();
  __shared__ float shared[warps][heads][K + 2];
  const int64_t t = blockIdx.z;
  const int position = p.positions_T[t], part = first_seen(p, position) / part_keys + blockIdx.x;
  if (part > position / part_keys) return;
  const int each = p.H / p.G, chunks = (each + heads - 1) / heads, group = blockIdx.y / chunks;
  const int chunk = blockIdx.y % chunks, first = group * each + chunk * heads, count = min(heads, each - chunk * heads);
  attend_part<X, C, K, heads>(p, t, group, first, count, part, shared);
  for (int h = 0; h < count; ++h) {
    float *to = p.partials + ((t * p.H + first + h) * p.parts + blockIdx.x) * (K + 2);
    for (int i = threadIdx.x; i < K + 2; i += threads) to[i] = shared[0][h][i];
  }
}

template <class X>
__global__ void __launch_bounds__(threads) merge_parts(const Rows p) {
  let_next_launch();
  wait_for_previous();
  const int64_t t = blockIdx.y;
  const int head = blockIdx.x, position = p.positions_T[t];
  const int count = position / part_keys - first_seen(p, position) / part_keys + 1;
  const float *from = p.partials + (t * p.H + head) * p.parts * (p.K + 2);
  for (int i = threadIdx.x; i < p.K; i += threads) {
    Merge merge = begin_with(p.sinks_H[head]);
    float value = 0;
    for (int part = 0; part < count; ++part) {
      const float *one = from + static_cast<int64_t>(part) * (p.K + 2);
      const float2 factors = merge.add(one[0], one[1]);
      value = fmaf(value, factors.x, one[2 + i] * factors.y);
    }
    store_mean<X>(p, t, head, i, value, merge.sum);
  }
}

// A block has a row, all its parts one after another.
template <class X, class C, int K, int heads>
__global__ void __launch_bounds__(threads) attend_rows(const Rows p) {
  let_next_launch();
  wait_for_previous();
  __shared__ float shared[warps][heads][K + 2];
  constexpr int elements = (K + threads - 1) / threads;
  const int each = p.H / p.G, chunks = (each + heads - 1) / heads, group = blockIdx.y / chunks;
  const int chunk = blockIdx.y % chunks, first = group * each + chunk * heads, count = min(heads, each - chunk * heads);
  const int64_t t = blockIdx.x;
  const int position = p.positions_T[t];
  Merge merge[heads];
  float values[heads][elements] = {};
#pragma unroll
  for (int h = 0; h < heads; ++h) merge[h] = begin_with(h < count ? p.sinks_H[first + h] : 0.f);
  for (int part = first_seen(p, position) / part_keys; part <= position / part_keys; ++part) {
    attend_part<X, C, K, heads>(p, t, group, first, count, part, shared);
#pragma unroll
    for (int h = 0; h < heads; ++h) {
      if (h >= count) break;
      const float2 factors = merge[h].add(shared[0][h][0], shared[0][h][1]);
#pragma unroll
      for (int e = 0; e < elements; ++e) {
        const int i = threadIdx.x + e * threads;
        if (i < K) values[h][e] = fmaf(values[h][e], factors.x, shared[0][h][2 + i] * factors.y);
      }
    }
    __syncthreads();  // before the next part takes the place
  }
#pragma unroll
  for (int h = 0; h < heads; ++h) {
    if (h >= count) break;
#pragma unroll
    for (int e = 0; e < elements; ++e) {
      const int i = threadIdx.x + e * threads;
      if (i < K) store_mean<X>(p, t, first + h, i, values[h][e], merge[h].sum);
    }
  }
}

constexpr int most_shares = 32;
constexpr unsigned few_blocks = 256;  // one a row and group: with more of them, parts of 256 keys keep a GPU as busy

// Steps of one token a sequence, quickly: a row's keys are shared among gridDim.x blocks, however long it is, so its
// bits depend on how many rows there are. One block: it writes the mean.
template <class X, class C, int K, int heads, bool appends>
__global__ void __launch_bounds__(threads) decode(const Rows p) {
  let_next_launch();
  wait_for_previous();
  __shared__ float shared[warps][heads][K + 2];
  const int64_t t = blockIdx.z;
  const int each = p.H / p.G, chunks = (each + heads - 1) / heads, group = blockIdx.y / chunks;
  const int chunk = blockIdx.y % chunks, first = group * each + chunk * heads, count = min(heads, each - chunk * heads);
  // Where the kernel appends, the token's own key is not among those of the cache.
  const int position = p.positions_T[t], begin = first_seen(p, position), end = appends ? position : position + 1;
  const int shares = static_cast<int>(gridDim.x), share = (end - begin + shares - 1) / shares;
  const int from = begin + static_cast<int>(blockIdx.x) * share, to = min(from + share, end);
  attend_keys<X, C, K, heads, appends>(p, t, group, first, count, from, from, to, blockIdx.x == gridDim.x - 1,
                                       chunk == 0, shared);
  if (gridDim.x > 1) {
    for (int h = 0; h < count; ++h) {
      float *out = p.partials + ((t * p.H + first + h) * gridDim.x + blockIdx.x) * (K + 2);
      for (int i = threadIdx.x; i < K + 2; i += threads) out[i] = shared[0][h][i];
    }
    return;
  }
  for (int h = 0; h < count; ++h) {
    Merge merge = begin_with(p.sinks_H[first + h]);
    const float2 factors = merge.add(shared[0][h][0], shared[0][h][1]);
    for (int i = threadIdx.x; i < K; i += threads)
      store_mean<X>(p, t, first + h, i, shared[0][h][2 + i] * factors.y, merge.sum);
  }
}

// The shares of a row: a lane has one of them.
template <class X>
__global__ void __launch_bounds__(threads) merge_shares(const Rows p, int shares) {
  let_next_launch();
  wait_for_previous();
  __shared__ float factors[most_shares];
  __shared__ float total;
  const int64_t t = blockIdx.y;
  const int head = blockIdx.x;
  const float *from = p.partials + (t * p.H + head) * shares * (p.K + 2);
  if (threadIdx.x < 32) {
    const int lane = threadIdx.x;
    const float sink = p.sinks_H[head], largest = lane < shares ? from[lane * (p.K + 2)] : -INFINITY;
    const float sum = lane < shares ? from[lane * (p.K + 2) + 1] : 0;
    float top = fmaxf(largest, sink);
#pragma unroll
    for (int distance = 16; distance; distance /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, distance));
    const float factor = largest == -INFINITY ? 0.f : power(largest - top);
    float all = sum * factor;
#pragma unroll
    for (int distance = 16; distance; distance /= 2) all += __shfl_xor_sync(~0u, all, distance);
    factors[lane] = factor;
    if (lane == 0) total = all + (sink == -INFINITY ? 0.f : power(sink - top));
  }
  __syncthreads();
  for (int i = threadIdx.x; i < p.K; i += threads) {
    float value = 0;
#pragma unroll 8
    for (int share = 0; share < shares; ++share) {
      const float factor = factors[share];  // 0: nothing was there, and its values are zeros
      value = fmaf(factor, from[share * (p.K + 2) + 2 + i], value);
    }
    store_mean<X>(p, t, head, i, value, total);
  }
}

// fast: steps of one token a sequence go by decode().
template <bool fast>
struct Attention {
  int32_t heads, groups, window;
  float scale, softcap;

  explicit Attention(const NodeView &node)
      : heads(static_cast<int32_t>(node.integer("heads"))),
        groups(static_cast<int32_t>(node.integer("groups"))),
        window(static_cast<int32_t>(std::min<int64_t>(node.integer("window"), INT32_MAX / 2))),
        scale(node.number("scale")),
        softcap(node.number("softcap")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor *in = call.in, &cache = in[cache_k];
    Rows p{};
    p.q_TX = in[q].data;
    p.k_TY = in[k].data;
    p.v_TY = in[v].data;
    p.cache_k = in[cache_k].data;
    p.cache_v = in[cache_v].data;
    p.y_TX = call.out[0].data;
    p.pages_SM = static_cast<const int32_t *>(in[pages].data);
    p.cells_T = static_cast<const int32_t *>(in[cells].data);
    p.positions_T = static_cast<const int32_t *>(in[positions].data);
    p.sequences_T = static_cast<const int32_t *>(in[sequences].data);
    p.slopes_H = static_cast<const float *>(in[slopes].data);
    p.sinks_H = static_cast<const float *>(in[sinks].data);
    if (is_there(call, k_scale)) p.k_scale = static_cast<const float *>(in[k_scale].data);
    if (is_there(call, v_scale)) p.v_scale = static_cast<const float *>(in[v_scale].data);
    p.partials = static_cast<float *>(ctx->workspace);
    p.T = in[q].shape[0];
    p.S = in[pages].shape[0];
    p.M = in[pages].shape[1];
    p.P = cache.shape[0];
    p.H = heads;
    p.G = groups;
    p.W = static_cast<int32_t>(cache.shape[2]);
    p.K = static_cast<int32_t>(cache.shape[3]);
    p.window = window;
    p.parts = parts(p.M, p.W, window);
    p.scale = scale;
    p.softcap = softcap;
    if (p.T == 0) return 0;
    if (in[q].dtype == INGOT_BF16) {
      return cache.dtype == INGOT_BF16 ? with_size<__nv_bfloat16, __nv_bfloat16>(p, ctx)
                                       : with_size<__nv_bfloat16, uint8_t>(p, ctx);
    }
    return cache.dtype == INGOT_F16 ? with_size<__half, __half>(p, ctx) : with_size<__half, uint8_t>(p, ctx);
  }

  // The most parts that a row sees.
  static int32_t parts(int64_t M, int64_t W, int64_t window) {
    const int64_t all = (M * W + part_keys - 1) / part_keys;
    return static_cast<int32_t>(window ? std::min(all, (window + part_keys - 1) / part_keys + 1) : all);
  }

 private:
  template <class X, class C>
  int with_size(const Rows &p, IngotCtx *ctx) const {
    switch (p.K) {
      case 64:
        return with_heads<X, C, 64>(p, ctx);
      case 80:
        return with_heads<X, C, 80>(p, ctx);
      case 96:
        return with_heads<X, C, 96>(p, ctx);
      case 128:
        return with_heads<X, C, 128>(p, ctx);
      default:
        return with_heads<X, C, 256>(p, ctx);
    }
  }

  template <class X, class C, int K>
  int with_heads(const Rows &p, IngotCtx *ctx) const {
    return p.H == p.G ? launch_all<X, C, K, 1>(p, ctx) : launch_all<X, C, K, 4>(p, ctx);
  }

  template <class X, class C, int K, int at_once>
  int launch_all(const Rows &p, IngotCtx *ctx) const {
    const auto T = static_cast<unsigned>(p.T), most_y = 65535u;
    const auto units = static_cast<unsigned>(p.G * ((p.H / p.G + at_once - 1) / at_once));
    const bool decodes = fast && p.T == p.S && units * T < few_blocks,
               appends = sizeof(C) == 2 && !p.k_scale && !p.v_scale;
    const auto columns = static_cast<unsigned>((2 * p.G * K / 8 + threads - 1) / threads);
    const Grid cells{dim3(columns, std::min(T, most_y)), dim3(threads)};
    if (!(decodes && appends)) {
      if (const int status = launch(ctx, "append", cells, append<X, C>, p)) return status;
    }
    if (decodes) {
      const unsigned wanted = 1280, rows = units * T;  // blocks: about two turns of all that run together
      const unsigned shares =
          p.T > most_split_rows ? 1 : std::clamp(wanted / rows, 1u, static_cast<unsigned>(most_shares));
      const Grid grid{dim3(shares, units, T), dim3(threads)};
      const auto kernel = appends ? decode<X, C, K, at_once, sizeof(C) == 2> : decode<X, C, K, at_once, false>;
      if (const int status = launch(ctx, "decode", grid, kernel, p)) return status;
      if (shares == 1) return 0;
      return launch(ctx, "merge_shares", Grid{dim3(static_cast<unsigned>(p.H), T), dim3(threads)}, merge_shares<X>, p,
                    static_cast<int>(shares));
    }
    if (p.T > most_split_rows)
      return launch(ctx, "attend_rows", Grid{dim3(T, units), dim3(threads)}, attend_rows<X, C, K, at_once>, p);
    const Grid grid{dim3(static_cast<unsigned>(p.parts), units, T), dim3(threads)};
    if (const int status = launch(ctx, "attend_parts", grid, attend_parts<X, C, K, at_once>, p)) return status;
    const Grid rows{dim3(static_cast<unsigned>(p.H), T), dim3(threads)};
    return launch(ctx, "merge_parts", rows, merge_parts<X>, p);
  }
};

int supports(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  const NodeView view{node, ctx->host};
  const IngotTensor query = view.input(q), cache = view.input(cache_k);
  const int64_t size = cache.shape[3];
  const bool known = size == 64 || size == 80 || size == 96 || size == 128 || size == 256;
  if (!known)
    snprintf(why, n, "heads of %lld elements; it takes 64, 80, 96, 128 and 256", static_cast<long long>(size));
  if (query.dtype != INGOT_BF16 && query.dtype != INGOT_F16) {
    snprintf(why, n, "it takes bf16 and f16");
    return 0;
  }
  if (cache.dtype != query.dtype && cache.dtype != INGOT_F8E4M3) {
    snprintf(why, n, "its caches are of the type of q, or f8e4m3");
    return 0;
  }
  return known;
}

// What the parts of a step of few tokens take. Words, in the order of their first use: T X Y P G W K S M H.
size_t workspace(const IngotNode *, const int64_t *dims) {
  const int64_t T = std::min(dims[0], most_split_rows), W = dims[5], K = dims[6], M = dims[8], H = dims[9];
  const int64_t parts = std::max(Attention<false>::parts(M, W, 0), most_shares);
  return static_cast<size_t>(T * H * parts * (K + 2)) * sizeof(float);
}

template <bool fast>
constexpr IngotKernel attention() {
  IngotKernel kernel = kernel_of<Attention<fast>>(fast ? "decode" : "rows", supports);
  if (fast) kernel.flags &= ~static_cast<uint32_t>(INGOT_BATCH_INVARIANT);
  kernel.workspace = workspace;
  return kernel;
}

constexpr IngotKernel kernels[] = {attention<true>(), attention<false>()};

constexpr IngotOpKernels sets[] = {{"ingot", "PagedAttention", kernels, 2}};

}  // namespace

std::span<const IngotOpKernels> attention_row_kernels() { return sets; }

}  // namespace ingot
