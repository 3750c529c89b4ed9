// The loops of Product over blocks of rows, tiles of tokens and pieces of D, for any instruction set (`Dot`:
// dot_tile.h).
#pragma once
#include <cstdint>

#include "ops/cpu/dot_tile.h"
#include "ops/cpu/product.h"

namespace ingot {

// A tile's x and the rows' piece stay in the first-level cache while all rows of a block pass.
constexpr int64_t piece_bytes = 2048;

// Rows that stand in memory one after the other: of the weight, or of a panel decoded from it.
struct RowBlock {
  const unsigned char *data;
  int64_t stride;        // bytes
  int64_t first, count;  // which outputs they are
  int64_t next = 0;      // bytes to the same element of the block that is read next; 0: there is none in memory
};

template <class L, int32_t y_dtype>
inline void finish_outputs(const Product &p, int64_t t, const RowBlock &rows, const float *sums) {
  constexpr int64_t width = L::width;
  auto *y = static_cast<unsigned char *>(p.y_TF) + (t * p.F + rows.first) * element_bytes(y_dtype);
  const auto *bias = static_cast<const unsigned char *>(p.bias_F);
  const int64_t bias_bytes = element_bytes(p.bias_dtype);
  for (int64_t i = 0; i < rows.count; i += width) {
    const int64_t f = rows.first + i, count = rows.count - i < width ? rows.count - i : width;
    typename L::Vector value = L::load(sums + i);
    if (p.x_scale_T) value = L::mul(value, L::set(p.x_scale_T[t]));
    if (p.scale && p.scale_per_row) value = L::mul(value, read_some<L, INGOT_F32>(p.scale + f, count));
    if (p.scale && !p.scale_per_row) value = L::mul(value, L::set(*p.scale));
    if (bias) {
      alignas(64) float floats[width] = {};
      convert_from<L, INGOT_F32>(bias + f * bias_bytes, p.bias_dtype, floats, count);
      value = L::add(value, L::load(floats));
    }
    if (count == width) {
      L::template write<y_dtype>(y + i * element_bytes(y_dtype), value);
    } else {
      write_some<L, y_dtype>(y + i * element_bytes(y_dtype), value, count);
    }
  }
}

template <class L>
inline void finish(const Product &p, int64_t t, const RowBlock &rows, const float *sums) {
  switch (p.y_dtype) {
    case INGOT_F32:
      return finish_outputs<L, INGOT_F32>(p, t, rows, sums);
    case INGOT_F16:
      return finish_outputs<L, INGOT_F16>(p, t, rows, sums);
    default:
      return finish_outputs<L, INGOT_BF16>(p, t, rows, sums);
  }
}

// One tile over one piece of D. state: its partial sums between pieces.
template <class Dot, int tokens, int rows>
inline void multiply_piece(const TilePlace &at, int64_t D, bool first, bool last, int64_t ahead, float *state,
                           float *out) {
  using L = typename Dot::Lanes;
  TileSums<Dot, tokens, rows> sums;
  for (int m = 0; m < tokens; ++m) {
    for (int n = 0; n < rows; ++n) sums[m][n] = first ? L::zero() : L::load(state + (m * rows + n) * L::width);
  }
  walk<Dot, tokens, rows>(sums, at, D, ahead);
  if (last) return sum_tile<Dot, tokens, rows>(sums, out, max_block_rows + L::width);
  for (int m = 0; m < tokens; ++m) {
    for (int n = 0; n < rows; ++n) L::store(state + (m * rows + n) * L::width, sums[m][n]);
  }
}

// A piece of D of some tokens.
struct XPiece {
  const unsigned char *data;
  int64_t stride;  // bytes
};

template <class Dot>
inline XPiece x_piece(const Product &p, int64_t t, int64_t d) {
  return {static_cast<const unsigned char *>(p.x_TD) + (t * p.D + d) * Dot::x_bytes, p.D * Dot::x_bytes};
}

// Rows whose distance is a large power of two fall into the same few lines of the first-level cache; their copies do
// not.
constexpr int64_t copy_stride = piece_bytes + 64;

template <class Dot, int tokens>
inline XPiece copy_piece(const Product &p, int64_t t, int64_t d, int64_t count, unsigned char *copy) {
  const XPiece x = x_piece<Dot>(p, t, d);
  const auto bytes = static_cast<size_t>(count * Dot::x_bytes);
  for (int m = 0; m < tokens; ++m) __builtin_memcpy(copy + m * copy_stride, x.data + m * x.stride, bytes);
  return {copy, copy_stride};
}

// What the rows n … of a block fetch meanwhile, as bytes from where they are. The first tile of tokens finds a block in
// the caches, or reads it and fetches its own next rows; the others fetch the next block, each its share of rows, so
// that memory is busy all the time.
static inline int64_t fetched_ahead(const Product &p, int64_t t, int64_t n, int64_t tile_tokens, const RowBlock &rows) {
  if (t == 0) return 4 * rows.stride;
  const int64_t others = (p.T - 1) / tile_tokens;
  return n / 4 % others == t / tile_tokens - 1 ? rows.next : 0;
}

// All rows of a block for tokens t … t + tokens - 1.
template <class Dot, int tokens>
inline void multiply_tokens(const Product &p, int64_t t, const RowBlock &rows) {
  using L = typename Dot::Lanes;
  constexpr int64_t row_of_sums = max_block_rows + L::width;
  alignas(64) float sums[tokens * row_of_sums], state[tokens * max_block_rows * L::width];
  alignas(64) unsigned char copy[tokens * copy_stride];
  const int64_t longest = p.T <= L::tile_tokens ? p.D : piece_bytes / Dot::x_bytes;
  for (int64_t d = 0; d < p.D; d += longest) {
    const bool last = d + longest >= p.D;
    const int64_t piece = last ? p.D - d : longest;
    const XPiece x = longest < p.D ? copy_piece<Dot, tokens>(p, t, d, piece, copy) : x_piece<Dot>(p, t, d);
    TilePlace at{x.data, rows.data + d * Dot::row_bytes, x.stride, rows.stride};
    int64_t n = 0;
    for (; n + 4 <= rows.count; n += 4, at.row += 4 * rows.stride) {
      const int64_t ahead = fetched_ahead(p, t, n, L::tile_tokens, rows);
      multiply_piece<Dot, tokens, 4>(at, piece, d == 0, last, ahead, state + n * tokens * L::width, sums + n);
    }
    for (; n < rows.count; ++n, at.row += rows.stride) {
      multiply_piece<Dot, tokens, 1>(at, piece, d == 0, last, rows.stride, state + n * tokens * L::width, sums + n);
    }
  }
  for (int m = 0; m < tokens; ++m) finish<L>(p, t + m, rows, sums + m * row_of_sums);
}

template <class Dot, int tokens>
inline void multiply_rest(const Product &p, int64_t t, const RowBlock &rows) {
  if constexpr (tokens > 0) {
    if (p.T - t == tokens) return multiply_tokens<Dot, tokens>(p, t, rows);
    multiply_rest<Dot, tokens - 1>(p, t, rows);
  }
}

template <class Dot>
inline void multiply_block(const Product &p, const RowBlock &rows) {
  constexpr int tokens = Dot::Lanes::tile_tokens;
  int64_t t = 0;
  for (; t + tokens <= p.T; t += tokens) multiply_tokens<Dot, tokens>(p, t, rows);
  multiply_rest<Dot, tokens - 1>(p, t, rows);
}

template <class Dot>
inline void multiply_rows(const Product &p, int64_t begin, int64_t end) {
  const int64_t stride = p.D * Dot::row_bytes, most = block_rows(p.D, Dot::row_bytes);
  const auto *weight = static_cast<const unsigned char *>(p.weight_FD);
  for (int64_t f = begin; f < end; f += most) {
    const int64_t left = end - f;
    multiply_block<Dot>(p,
                        {weight + f * stride, stride, f, left < most ? left : most, left > most ? most * stride : 0});
  }
}

// With more tokens than a tile holds, codes are decoded once for all: into `panel`, which Plain reads to the same
// values.
template <class Dot, class Plain>
inline void multiply_codes(const Product &p, int64_t begin, int64_t end, void *panel,
                           void (*convert)(const void *, int32_t, void *, int64_t)) {
  if (p.T <= Dot::Lanes::tile_tokens || !panel) return multiply_rows<Dot>(p, begin, end);
  const int64_t stride = p.D * Plain::row_bytes, most = block_rows(p.D, Plain::row_bytes);
  const auto *weight = static_cast<const unsigned char *>(p.weight_FD);
  auto *rows = static_cast<unsigned char *>(panel);
  for (int64_t f = begin; f < end; f += most) {
    const int64_t count = end - f < most ? end - f : most;
    convert(weight + f * p.D, p.weight_dtype, rows, count * p.D);
    multiply_block<Plain>(p, {rows, stride, f, count});
  }
}

// The kernel of an instruction set that multiplies floats.
template <class L>
void float_convert(const void *from, int32_t dtype, void *to, int64_t count) {
  convert_from<L, INGOT_F32>(from, dtype, to, count);
}

template <class L>
void float_rows(const Product &p, int64_t begin, int64_t end, void *panel) {
  using Plain = FloatDot<L, INGOT_F32>;
  switch (p.weight_dtype) {
    case INGOT_F32:
      return multiply_rows<Plain>(p, begin, end);
    case INGOT_F16:
      return multiply_rows<FloatDot<L, INGOT_F16>>(p, begin, end);
    case INGOT_BF16:
      return multiply_rows<FloatDot<L, INGOT_BF16>>(p, begin, end);
    case INGOT_F8E4M3:
      return multiply_codes<FloatDot<L, INGOT_F8E4M3>, Plain>(p, begin, end, panel, float_convert<L>);
    default:
      return multiply_codes<FloatDot<L, INGOT_I8>, Plain>(p, begin, end, panel, float_convert<L>);
  }
}

}  // namespace ingot
