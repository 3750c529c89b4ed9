// How the threads of a grid share slices of equally many units: small ones several to a block, large ones in turn.
#pragma once
#include <algorithm>

#include "ops/cuda/launch.h"

namespace ingot {

constexpr unsigned slice_threads = 128;  // of a block

inline Grid slice_grid(int64_t slices, int64_t units) {
  unsigned wide = 1;  // threads beside each other in a slice
  while (wide < slice_threads && wide < units) wide *= 2;
  const unsigned together = slice_threads / wide;
  const int64_t blocks = (slices + together - 1) / together, parts = (units + wide - 1) / wide;
  return {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(std::min<int64_t>(parts, 65535))),
          dim3(wide, together)};
}

__device__ inline int64_t slice_of_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; }

// Calls with(unit) for the units of this thread.
template <class With>
__device__ inline void each_unit(int64_t units, const With &with) {
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t unit = blockIdx.y * blockDim.x + threadIdx.x; unit < units; unit += step) with(unit);
}

// Calls with(Unit{}) for the widest unit that divides all of these bytes: 16, 4, 2 or 1.
template <class With>
void with_unit(int64_t bytes, const With &with) {
  if (bytes % 16 == 0) return with(uint4{});
  if (bytes % 4 == 0) return with(uint32_t{});
  if (bytes % 2 == 0) return with(uint16_t{});
  with(uint8_t{});
}

}  // namespace ingot
