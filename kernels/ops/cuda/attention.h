// What a kernel of PagedAttention is told of a step.
#pragma once
#include <algorithm>

#include "ops/cuda/kernel_of.h"

namespace ingot::paged {

enum Input { q, k, v, cache_k, cache_v, pages, cells, positions, sequences, slopes, sinks, k_scale, v_scale };

struct Step {
  const void *q_TX, *k_TY, *v_TY;
  void *cache_k, *cache_v, *y_TX;
  const int32_t *pages_SM, *cells_T, *positions_T, *sequences_T;
  const float *slopes_H, *sinks_H, *k_scale, *v_scale;  // the scales may be NULL
  int64_t T, M, P;
  int32_t H, G, W, K, window;
  float scale, softcap;
};

__device__ inline float unit(const float *scale) { return scale ? *scale : 1.f; }
__device__ inline int first_seen(const Step &p, int position) {
  return p.window && position >= p.window ? position - p.window + 1 : 0;
}

// What a kernel keeps of its node.
struct Attention {
  int32_t heads, groups, window;
  float scale, softcap;

  explicit Attention(const NodeView &node)
      : heads(static_cast<int32_t>(node.integer("heads"))),
        groups(static_cast<int32_t>(node.integer("groups"))),
        window(static_cast<int32_t>(std::min<int64_t>(node.integer("window"), INT32_MAX / 2))),
        scale(node.number("scale")),
        softcap(node.number("softcap")) {}

  Step step(const IngotCall &call) const {
    const IngotTensor *in = call.in, &cache = in[cache_k];
    Step p{};
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
    p.T = in[q].shape[0];
    p.M = in[pages].shape[1];
    p.P = cache.shape[0];
    p.H = heads;
    p.G = groups;
    p.W = static_cast<int32_t>(cache.shape[2]);
    p.K = static_cast<int32_t>(cache.shape[3]);
    p.window = window;
    p.scale = scale;
    p.softcap = softcap;
    return p;
  }
};

}  // namespace ingot::paged
