// A step's tokens cut into tiles, each of one sequence: found on the device, since a plan tells where a sequence begins
// by sequences_T only. Tokens of one sequence stand together, in order.
#pragma once
#include "ops/cuda/launch.h"

namespace ingot::paged {

constexpr int list_threads = 1024;

// The value before this thread's in the block's scan by `join`; all threads come here.
template <class Join>
__device__ int scan_before(int value, int neutral, int (&shared)[32], Join join) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int scanned = value;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int other = __shfl_up_sync(~0u, scanned, distance);
    if (lane >= distance) scanned = join(scanned, other);
  }
  if (lane == 31) shared[warp] = scanned;
  __syncthreads();
  int before = neutral;
  for (int w = 0; w < warp; ++w) before = join(before, shared[w]);
  const int left = __shfl_up_sync(~0u, scanned, 1);
  __syncthreads();  // before another scan takes the place
  return lane ? join(before, left) : before;
}

// first[0 … n-1]: the first tokens of the tiles, in order; -1 in the rest of `most`. One block.
static __global__ void __launch_bounds__(list_threads)
    list_tiles(const int32_t *sequences_T, int T, int tokens, int32_t *first, int most) {
  let_next_launch();
  wait_for_previous();
  __shared__ int shared[32];
  __shared__ int count;
  const int each = (T + list_threads - 1) / list_threads;
  const int begin = min(T, static_cast<int>(threadIdx.x) * each), end = min(T, begin + each);
  const auto begins = [&](int t) { return t == 0 || sequences_T[t] != sequences_T[t - 1]; };
  int last = -1;
  for (int t = begin; t < end; ++t) {
    if (begins(t)) last = t;
  }
  const int before = scan_before(last, -1, shared, [](int a, int b) { return max(a, b); });
  int mine = 0, start = before;
  for (int t = begin; t < end; ++t) {
    if (begins(t)) start = t;
    mine += (t - start) % tokens == 0;
  }
  int at = scan_before(mine, 0, shared, [](int a, int b) { return a + b; });
  if (threadIdx.x == list_threads - 1) count = at + mine;
  start = before;
  for (int t = begin; t < end; ++t) {
    if (begins(t)) start = t;
    if ((t - start) % tokens == 0 && at < most) first[at++] = t;
  }
  __syncthreads();
  for (int i = count + threadIdx.x; i < most; i += list_threads) first[i] = -1;
}

}  // namespace ingot::paged
