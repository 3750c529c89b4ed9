// The sizes of what is done with a span, and what the warps of a block share.
#pragma once
#include "ops/cuda/flash_call.h"
#include "ops/cuda/flash_words.h"

namespace ingot {

constexpr int span_threads = 128, span_warps = span_threads / 32;

template <class C, int K>
struct SpanShape {
  static constexpr bool codes = sizeof(C) == 1;
  static constexpr int keys = codes ? 32 : 16;  // of a warp's tile
  static constexpr int rows16 = keys / 16;
  static constexpr int chunk = codes ? 16 : 8;  // elements of 16 bytes
  static constexpr int chunks = K / chunk;      // of a head
  static constexpr int key_loads = (chunks + 3) / 4, value_loads = (chunks + 7) / 8;
  static constexpr int key_words = chunk / 2;           // pairs of elements of a chunk
  static constexpr int sums = value_loads * key_words;  // tiles of 16 elements
  static constexpr int blocks = K == 256 ? 2 : 3;       // of a multiprocessor
};

template <class C, int K>
struct SpanShared {
  float values[span_warps][span_heads][K];
  float largest[span_warps][span_heads], sums[span_warps][span_heads];
  float means[span_heads][K];  // of the parts before
  Softmax softmax[span_heads];
  int next;
  bool last;
};

}  // namespace ingot
