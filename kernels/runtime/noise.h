// Random numbers that depend on nothing but (seed, position): preemption, restarts and neighbours cannot change a draw.
#pragma once
#include <cstdint>

namespace ingot {

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). constexpr: GPUs draw with the same numbers.
constexpr uint64_t mixed_noise(uint64_t z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

// 64 random bits. `position`: where in its sequence the drawn token will stand.
constexpr uint64_t noise_bits(uint64_t seed, int64_t position) {
  constexpr uint64_t golden = 0x9E3779B97F4A7C15u;
  const uint64_t stream = mixed_noise(seed + golden);  // else neighbouring seeds would be shifts of one another
  return mixed_noise(stream + static_cast<uint64_t>(position + 1) * golden);
}

// Uniform in [0, 1) with 53 bits.
inline double uniform(uint64_t seed, int64_t position) {
  return static_cast<double>(noise_bits(seed, position) >> 11) * 0x1p-53;
}

// The seed of sequence `index` of a request: its own noise, and that of sequence 0 is the request's.
inline uint64_t seed_of_choice(uint64_t seed, int32_t index) {
  if (index == 0) return seed;
  return mixed_noise(seed + static_cast<uint64_t>(index) * 0xD1B54A32D192ED03u);
}

}  // namespace ingot
