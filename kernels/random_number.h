// The counter-based random numbers of ingot_random (ingot.h), which the CPU and GPUs make alike.
#pragma once
#include <cstdint>

namespace ingot {

// Element `index` of the sequence `seed`: uniform in [-scale, scale). Only the last product rounds.
constexpr float random_number(uint64_t seed, uint64_t index, float scale) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  const float u = static_cast<float>(z >> 40) * 0x1p-24f;
  return scale * (2 * u - 1);
}

}  // namespace ingot
