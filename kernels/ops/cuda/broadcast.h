// NumPy's broadcasting: where the elements of an output find those of its inputs.
#pragma once
#include <algorithm>
#include <cstdint>

#include "ops/cuda/kernel_of.h"

namespace ingot {

constexpr int most_inputs = 3;

// Dimension 0 is the innermost; dimensions that all inputs pass alike are one.
struct Broadcast {
  int64_t elements = 1, size[INGOT_MAX_RANK], stride[INGOT_MAX_RANK][most_inputs];
  int rank = 0;

  Broadcast() = default;

  // Inputs: most_inputs, NULL where there is none. One of a single element has any rank.
  Broadcast(const IngotTensor &out, const IngotTensor *const (&in)[most_inputs]) {
    int64_t natural[most_inputs] = {1, 1, 1};
    elements = count_of(out);
    for (int32_t i = out.rank - 1; i >= 0; --i) {
      if (out.shape[i] == 1) continue;
      int64_t step[most_inputs] = {};
      for (int k = 0; k < most_inputs; ++k) {
        const int32_t place = in[k] ? i - (out.rank - in[k]->rank) : -1;
        const int64_t extent = place < 0 ? 1 : in[k]->shape[place];
        step[k] = extent == 1 ? 0 : natural[k];
        natural[k] *= extent;
      }
      add(out.shape[i], step);
    }
  }

  // Whether runs of `count` outputs take runs of as many, or one element, of each input.
  bool fits(int64_t count) const {
    for (int i = 0; i < rank; ++i) {
      for (int k = 0; k < most_inputs; ++k) {
        if (i == 0 ? stride[i][k] > 1 : stride[i][k] % count) return false;
      }
    }
    return rank > 0 && size[0] % count == 0;
  }

  // Where output `index` finds the elements of its inputs.
  __device__ void places(int64_t index, int64_t (&at)[most_inputs]) const {
    for (int k = 0; k < most_inputs; ++k) at[k] = 0;
    for (int i = 0; i < rank; ++i) {
      const int64_t next = i + 1 == rank ? 0 : quotient(index, size[i]);
      for (int k = 0; k < most_inputs; ++k) at[k] += (index - next * size[i]) * stride[i][k];
      index = next;
    }
  }

 private:
  // Divisions of 32 bits are much faster.
  static __device__ int64_t quotient(int64_t a, int64_t b) {
    if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    return a / b;
  }

  void add(int64_t extent, const int64_t (&step)[most_inputs]) {
    bool joins = rank > 0;
    for (int k = 0; joins && k < most_inputs; ++k) joins = step[k] == stride[rank - 1][k] * size[rank - 1];
    if (joins) {
      size[rank - 1] *= extent;
      return;
    }
    size[rank] = extent;
    std::copy_n(step, most_inputs, stride[rank++]);
  }
};

}  // namespace ingot
