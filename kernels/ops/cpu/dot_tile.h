// Dot products of a tile of tokens with a tile of rows. `Dot` says how the elements are read:
//   Lanes                         the vectors of the sums
//   step                          elements of one go along D
//   X, Row                        what load_x and load_row return
//   x_bytes, row_bytes            of one element
//   load_x(p), load_x_some(p, n)  `step` elements; n of them and zeros
//   load_row(p), load_row_some(p, n)
//   add(sum, x, row)              sum + x · row
#pragma once
#include <cstdint>

#include "ops/cpu/lane_math.h"

namespace ingot {

// The floats of Lanes::width at a time, weights of any type.
template <class L, int32_t row_dtype>
struct FloatDot {
  using Lanes = L;
  using X = typename L::Vector;
  using Row = typename L::Vector;
  static constexpr int64_t step = L::width, x_bytes = 4, row_bytes = element_bytes(row_dtype);
  static X load_x(const unsigned char *p) { return L::template read<INGOT_F32>(p); }
  static X load_x_some(const unsigned char *p, int64_t n) { return read_some<L, INGOT_F32>(p, n); }
  static Row load_row(const unsigned char *p) { return L::template read<row_dtype>(p); }
  static Row load_row_some(const unsigned char *p, int64_t n) { return read_some<L, row_dtype>(p, n); }
  static typename L::Vector add(typename L::Vector sum, X x, Row row) { return L::fma(x, row, sum); }
};

// Where a tile's operands lie: element d of token m is x[m * x_stride + d], in bytes.
struct TilePlace {
  const unsigned char *x, *row;
  int64_t x_stride, row_stride;
};

template <class Dot, int tokens, int rows>
using TileSums = typename Dot::Lanes::Vector[tokens][rows];

template <class Dot, int tokens, int rows, bool part>
inline __attribute__((always_inline)) void tile_step(TileSums<Dot, tokens, rows> &sums, const TilePlace &at, int64_t d,
                                                     int64_t count) {
  typename Dot::X x[tokens];
  for (int m = 0; m < tokens; ++m) {
    const unsigned char *p = at.x + m * at.x_stride + d * Dot::x_bytes;
    x[m] = part ? Dot::load_x_some(p, count) : Dot::load_x(p);
  }
  for (int n = 0; n < rows; ++n) {
    const unsigned char *p = at.row + n * at.row_stride + d * Dot::row_bytes;
    const typename Dot::Row row = part ? Dot::load_row_some(p, count) : Dot::load_row(p);
    for (int m = 0; m < tokens; ++m) sums[m][n] = Dot::add(sums[m][n], x[m], row);
  }
}

// Adds elements 0 … D-1 to the sums. ahead: bytes from a row's element to the one that is fetched into the cache
// meanwhile; 0: none.
template <class Dot, int tokens, int rows>
inline __attribute__((always_inline)) void walk(TileSums<Dot, tokens, rows> &sums, const TilePlace &at, int64_t D,
                                                int64_t ahead) {
  constexpr int64_t line = 64, step = Dot::step;
  // One fetch a cache line, so several steps where a step is shorter.
  constexpr int64_t steps = step * Dot::row_bytes >= line ? 1 : line / (step * Dot::row_bytes);
  int64_t d = 0;
  for (; d + steps * step <= D; d += steps * step) {
    if (ahead) {
      for (int n = 0; n < rows; ++n) __builtin_prefetch(at.row + n * at.row_stride + d * Dot::row_bytes + ahead, 0, 2);
    }
    for (int64_t i = 0; i < steps; ++i) tile_step<Dot, tokens, rows, false>(sums, at, d + i * step, step);
  }
  for (; d + step <= D; d += step) tile_step<Dot, tokens, rows, false>(sums, at, d, step);
  if (d < D) tile_step<Dot, tokens, rows, true>(sums, at, d, D - d);
}

// Sums up: out[m * stride + n].
template <class Dot, int tokens, int rows>
inline __attribute__((always_inline)) void sum_tile(const TileSums<Dot, tokens, rows> &sums, float *out,
                                                    int64_t stride) {
  using L = typename Dot::Lanes;
  for (int m = 0; m < tokens; ++m) {
    if constexpr (rows == 1) {
      out[m * stride] = L::sum(sums[m][0]);
    } else {
      static_assert(rows == 4);
      L::sum4(sums[m][0], sums[m][1], sums[m][2], sums[m][3], out + m * stride);
    }
  }
}

}  // namespace ingot
