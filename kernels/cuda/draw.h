// One draw from a row of logits: temperature, top_k, top_p, min_p, as kernels/runtime/sampler.h says.
//
// The tokens that are left lie one after another by their ids, each as long as its mass; the noise of (seed, position)
// is a place on that line. The host's sampler lays them best first, so the same noise may draw another token there.
#pragma once
#include "cuda/cut.h"
#include "ingot_device.h"
#include "runtime/noise.h"

namespace ingot::cuda {

struct DrawSpace {
  CutSpace cut;
  uint64_t rest;
  int32_t tile, token;
};

// Mass of the tokens [first, last) that are left, every `stride`th.
template <typename F>
__device__ uint64_t mass_of(const LogitsRow &row, int32_t first, int32_t last, int32_t stride, F left) {
  constexpr int32_t ahead = 8;
  uint64_t sum = 0;
  for (int32_t base = first; base < last; base += ahead * stride) {
    float x[ahead];
    for (int32_t k = 0; k < ahead; ++k) {
      const int32_t id = base + k * stride;
      x[k] = id < last ? __ldg(row.x_V + id) : 0;
    }
    for (int32_t k = 0; k < ahead; ++k) {
      const int32_t id = base + k * stride;
      if (id < last) sum += left(x[k], id);
    }
  }
  return sum;
}

// The token at the place `noise` of the line. left(x, id): the token's mass, 0 where it is not left.
template <typename F>
__device__ int32_t token_at(const LogitsRow &row, DrawSpace &space, uint64_t noise, F left) {
  const auto thread = static_cast<int32_t>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  // At most one tile for each thread; V is at most 2^28.
  const int32_t each = (row.V + row_threads * row_threads - 1) / (row_threads * row_threads), tile = each * row_threads;
  const int32_t tiles = (row.V + tile - 1) / tile;
  __syncthreads();
  for (int32_t t = warp; t < tiles; t += row_warps) {
    uint64_t sum = mass_of(row, t * tile + lane, min(row.V, (t + 1) * tile), 32, left);
    for (uint32_t d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
    if (lane == 0) space.cut.entry[t] = sum;
  }
  __syncthreads();

  Tally total;
  const uint64_t mine = thread < tiles ? space.cut.entry[thread] : 0;
  const uint64_t before = tally_before(space.cut.scan, {mine, 0}, &total).mass;
  const uint64_t place = __umul64hi(noise, total.mass);  // below total.mass
  if (before <= place && place < before + mine) {
    space.tile = thread;
    space.rest = place - before;
  }
  __syncthreads();

  const uint64_t rest = space.rest;
  const int32_t first = space.tile * tile + thread * each, last = min(row.V, first + each);
  const uint64_t own = mass_of(row, first, last, 1, left);
  uint64_t reached = tally_before(space.cut.scan, {own, 0}, &total).mass;
  if (reached <= rest && rest < reached + own) {
    for (int32_t id = first; id < last; ++id) {
      reached += left(__ldg(row.x_V + id), id);
      if (rest < reached) {
        space.token = id;
        break;
      }
    }
  }
  __syncthreads();
  return space.token;
}

// Every thread of the block calls it and gets the token.
__device__ inline int32_t draw(const LogitsRow &row, const IngotSlotSampling &how, int64_t position, DrawSpace &space) {
  Cut cut{0, INT32_MAX, {0, 0}};
  bool filled = false;
  const bool best = how.top_k > 0 && how.top_k < row.V;
  if (best) cut = find_cut<false>(row, space.cut, static_cast<uint64_t>(how.top_k), &filled);
  if (how.top_p < 1) {
    uint64_t everything = cut.kept.mass;
    if (!best) {
      fill_bins(row, space.cut);
      filled = true;
      everything = mass_of_bins(space.cut);
    }
    const auto target = static_cast<uint64_t>(ceil(static_cast<double>(how.top_p) * static_cast<double>(everything)));
    cut = find_cut<true>(row, space.cut, min(max(target, uint64_t{1}), everything), &filled);
  }
  const float min_p = how.min_p;  // the best token weighs 1
  const uint64_t noise = noise_bits(how.seed, position) >> 11 << 11;
  return token_at(row, space, noise, [&](float x, int32_t id) -> uint64_t {
    return cut.keeps(x, id) && row.weight(x) >= min_p ? row.mass(x) : 0;
  });
}

}  // namespace ingot::cuda
