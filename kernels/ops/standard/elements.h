// Blocks of elements of any type, as floats or as integers: the naive kernels work on blocks in the first-level cache.
#pragma once
#include <cstdint>

#include "ops/numbers.h"

namespace ingot::standard {

constexpr int64_t block_size = 256;

// `count` elements of `data` from element `first` on, `step` apart; 0: the same one again and again.
void read_elements(const void *data, int32_t dtype, int64_t first, int64_t step, int64_t count, float *x);
void read_elements(const void *data, int32_t dtype, int64_t first, int64_t step, int64_t count, int64_t *x);

// Floats are rounded to a float type; an f8 number out of range becomes the largest where `saturate`. Integers lose the
// bits that their type does not have.
void write_elements(void *data, int32_t dtype, int64_t first, int64_t count, const float *x, bool saturate = true);
void write_elements(void *data, int32_t dtype, int64_t first, int64_t count, const int64_t *x, bool saturate = true);

}  // namespace ingot::standard
