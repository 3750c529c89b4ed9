// One row of logits, read by one block of 1024 threads: weights, order, and sums that do not depend on their order.
#pragma once
#include <cfloat>
#include <cstdint>

namespace ingot::cuda {

constexpr int32_t row_threads = 1024, row_warps = row_threads / 32;
constexpr int32_t bins = 2048, bins_an_octave = 32;  // of weights: what falls into the last bin weighs below 2^-63

// Highest is finite, no logit is NaN or above it. A token's mass is its weight as an integer: exp((x - highest) /
// temperature) times 2^(62 - log2 V), at most 2^47, rounded. Sums of integers are exact, so their order does not
// matter, and the sum over a row stays below 2^63.
struct LogitsRow {
  const float *x_V;
  int32_t V;
  float highest;
  float scale;  // 1 / temperature
  float step;   // bins for one unit of the logits
  float unit;   // mass of the best token

  __device__ LogitsRow(const float *x_V, int32_t V, float highest, float temperature)
      : x_V(x_V), V(V), highest(highest) {
    // A tiny temperature must not make inf * 0.
    scale = fminf(1 / temperature, FLT_MAX);
    step = fminf(scale * (bins_an_octave * 1.44269504f), FLT_MAX);
    const int32_t bits = V > 1 ? 32 - __clz(V - 1) : 0;
    unit = ldexpf(1, min(47, 62 - bits));
  }

  __device__ float weight(float x) const { return expf((x - highest) * scale); }
  __device__ uint64_t mass(float x) const { return __float2ull_rn(weight(x) * unit); }

  // 0 for the best; a worse token is never in an earlier bin.
  __device__ int32_t bin(float x) const {
    return static_cast<int32_t>(fminf(__fmul_rn(__fsub_rn(highest, x), step), bins - 1));
  }

  // Calls f(x, id) for every token of the row, each thread for its own; several loads are in flight.
  template <typename F>
  __device__ void each(F f) const {
    constexpr int32_t ahead = 8;
    for (int32_t base = 0; base < V; base += ahead * row_threads) {
      float x[ahead];
      for (int32_t k = 0; k < ahead; ++k) {
        const int32_t id = base + k * row_threads + static_cast<int32_t>(threadIdx.x);
        x[k] = id < V ? __ldg(x_V + id) : 0;
      }
      for (int32_t k = 0; k < ahead; ++k) {
        const int32_t id = base + k * row_threads + static_cast<int32_t>(threadIdx.x);
        if (id < V) f(x[k], id);
      }
    }
  }
};

// Orders as numbers do; -0 is 0.
__device__ inline uint32_t key_of(float x) {
  const uint32_t bits = __float_as_uint(x == 0 ? 0.f : x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline float number_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}

// Some tokens together.
struct Tally {
  uint64_t mass;
  uint64_t count;

  __device__ Tally operator+(const Tally &other) const { return {mass + other.mass, count + other.count}; }
};

struct ScanSpace {
  Tally warp[row_warps];
};

// The sum over all threads before this one; `total`: over all. Every thread of the block calls it.
__device__ inline Tally tally_before(ScanSpace &space, Tally mine, Tally *total) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  Tally sum = mine;
  for (uint32_t d = 1; d < 32; d *= 2) {
    const Tally other{__shfl_up_sync(~0u, sum.mass, d), __shfl_up_sync(~0u, sum.count, d)};
    if (lane >= d) sum = sum + other;
  }
  __syncthreads();  // who called before has read the space
  if (lane == 31) space.warp[warp] = sum;
  __syncthreads();
  Tally before{0, 0}, all{0, 0};
  for (uint32_t w = 0; w < row_warps; ++w) {
    if (w == warp) before = all;
    all = all + space.warp[w];
  }
  *total = all;
  return {before.mass + sum.mass - mine.mass, before.count + sum.count - mine.count};
}

}  // namespace ingot::cuda
