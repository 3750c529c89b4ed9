// GroupedProduct in products of bf16 pairs (vdpbf16ps). Codes become bf16 exactly. 64 bytes of codes are a block; its
// sum starts at minus zero point times sum of x, and is added, times its scales, to the output's sum. Lanes and groups
// run alike: the elements of a lane of a block belong to one group.
#include "ops/cpu/avx512_lanes.h"
#include "ops/cpu/bf16_blocks.h"
#include "ops/cpu/grouped_codes.h"
#include "ops/cpu/product_rows.h"

namespace ingot {
namespace {

using Lanes = Avx512Lanes;

constexpr int64_t most_rows = 32;  // of a call's inner loops
constexpr int most_tokens = 3;     // 3 x 4 sums of a block and 3 x 4 of the outputs fit the registers

template <class Codes>
int64_t x_bytes_of(const GroupedProduct &p) {
  const Layout<Codes> layout(p);
  return layout.blocks * layout.x_block;
}

// Scales of a block of rows, then zero points, then the rows as bf16.
template <class Codes>
int64_t scratch_bytes_of(const GroupedProduct &p) {
  const Layout<Codes> layout(p);
  const int64_t panel = p.product.T > most_tokens ? layout.panel_row() : 0;
  return most_rows * (2 * layout.floats_row * 4 + panel);
}

// A token's x in the order of the blocks, zeros behind its end.
template <class Codes>
void order_token(const GroupedProduct &p, const Layout<Codes> &layout, const uint16_t *x, unsigned char *to) {
  const __m512i ones = _mm512_set1_epi16(0x3f80);
  for (int64_t b = 0; b < layout.blocks; ++b, to += layout.x_block) {
    __m512i natural[4] = {};
    for (int v = 0; v < Codes::vectors; ++v) {
      const int64_t first = b * Codes::elements + v * 32, left = layout.D - first;
      const __mmask32 there = left >= 32 ? ~__mmask32{0} : left > 0 ? (__mmask32{1} << left) - 1 : 0;
      natural[v] = _mm512_maskz_loadu_epi16(there, x + first);
    }
    __m512 sum = _mm512_setzero_ps();
    for (int v = 0; v < Codes::vectors; ++v) {
      const __m512i vector = in_order<Codes>(v, natural);
      _mm512_store_si512(to + v * 64, vector);
      sum = _mm512_dpbf16_ps(sum, (__m512bh)vector, (__m512bh)ones);
    }
    if (p.zero_FN) _mm512_store_ps(to + Codes::vectors * 64, sum);
  }
}

template <class Codes>
void order_tokens(const GroupedProduct &p, const void *x, int64_t begin, int64_t end, unsigned char *to) {
  const Layout<Codes> layout(p);
  for (int64_t t = begin; t < end; ++t) {
    order_token(p, layout, static_cast<const uint16_t *>(x) + t * layout.D, to + t * layout.blocks * layout.x_block);
  }
}

// What a call of grouped_rows keeps of a block of rows.
struct RowScratch {
  float *scales, *minus_zeros;  // layout.floats_row to a row
  unsigned char *panel;
};

// Scales and minus zero points of rows f … f + count - 1 as floats; behind them zeros, since behind the end of D stand
// products of zeros, which only an infinite scale or NaN would turn into something else.
template <class Codes, int32_t dtype>
void read_scales_of(const GroupedProduct &p, const Layout<Codes> &layout, int64_t f, int64_t count, float *to) {
  const int64_t N = layout.groups;
  const auto *scale = static_cast<const unsigned char *>(p.scale_FN) + f * N * element_bytes(dtype);
  for (int64_t i = 0; i < count; ++i, scale += N * element_bytes(dtype), to += layout.floats_row) {
    int64_t n = 0;
    for (; n + 16 <= N; n += 16) _mm512_store_ps(to + n, Lanes::read<dtype>(scale + n * element_bytes(dtype)));
    if (n < N) {
      _mm512_store_ps(to + n, read_some<Lanes, dtype>(scale + n * element_bytes(dtype), N - n));
      n += 16;
    }
    _mm512_store_ps(to + n, _mm512_setzero_ps());
  }
}

template <class Codes>
void read_scales(const GroupedProduct &p, const Layout<Codes> &layout, int64_t f, int64_t count, const RowScratch &to) {
  if (p.scale_dtype == INGOT_BF16) {
    read_scales_of<Codes, INGOT_BF16>(p, layout, f, count, to.scales);
  } else if (p.scale_dtype == INGOT_F16) {
    read_scales_of<Codes, INGOT_F16>(p, layout, f, count, to.scales);
  } else {
    read_scales_of<Codes, INGOT_F32>(p, layout, f, count, to.scales);
  }
  if (!p.zero_FN) return;
  GroupedProduct zeros = p;
  zeros.scale_FN = p.zero_FN;
  read_scales_of<Codes, INGOT_I8>(zeros, layout, f, count, to.minus_zeros);
  const int64_t floats = count * layout.floats_row;
  for (int64_t n = 0; n < floats; n += 16) {
    _mm512_store_ps(to.minus_zeros + n, _mm512_sub_ps(_mm512_setzero_ps(), _mm512_load_ps(to.minus_zeros + n)));
  }
}

// A tile's places. Each row is read as codes, or decoded from the panel.
template <class Codes>
struct Tile {
  const GroupedProduct &p;
  const Layout<Codes> &layout;
  const unsigned char *x;  // of its first token
  const unsigned char *codes, *panel;
  const float *scales, *minus_zeros;
};

inline __m512 at_lanes(const float *of_groups, __m512i group_of_lane) {
  return _mm512_permutexvar_ps(group_of_lane, _mm512_loadu_ps(of_groups));
}

// Sums of a tile's blocks, each times its scale.
template <class Codes, int tokens, int rows, bool zeros>
struct TileState {
  __m512 sums[tokens][rows], block[tokens][rows], scale[rows];
  __m512i group_of_lane;

  explicit TileState(const Layout<Codes> &layout) : group_of_lane(_mm512_load_si512(layout.group_of_lane)) {
    for (int m = 0; m < tokens; ++m) {
      for (int n = 0; n < rows; ++n) sums[m][n] = _mm512_setzero_ps();
    }
  }

  // scales: of the first row's group. x: of the first token's block.
  inline __attribute__((always_inline)) void open(const float *scales, const float *minus_zeros, int64_t floats_row,
                                                  const unsigned char *x, int64_t x_token) {
    for (int n = 0; n < rows; ++n) {
      scale[n] = at_lanes(scales + n * floats_row, group_of_lane);
      __m512 minus_zero;
      if constexpr (zeros) minus_zero = at_lanes(minus_zeros + n * floats_row, group_of_lane);
      for (int m = 0; m < tokens; ++m) {
        block[m][n] = zeros ? _mm512_mul_ps(minus_zero, _mm512_load_ps(x + m * x_token + Codes::vectors * 64))
                            : _mm512_setzero_ps();
      }
    }
  }
  inline __attribute__((always_inline)) void add(int m, int n, __m512i x, __m512i row) {
    block[m][n] = _mm512_dpbf16_ps(block[m][n], (__m512bh)x, (__m512bh)row);
  }
  inline __attribute__((always_inline)) void close() {
    for (int n = 0; n < rows; ++n) {
      for (int m = 0; m < tokens; ++m) sums[m][n] = _mm512_fmadd_ps(scale[n], block[m][n], sums[m][n]);
    }
  }
  // out[m * stride + n]
  void finish(float *out, int64_t stride) const {
    for (int m = 0; m < tokens; ++m) {
      if constexpr (rows == 1) {
        out[m * stride] = Lanes::sum(sums[m][0]);
      } else {
        static_assert(rows == 4);
        Lanes::sum4(sums[m][0], sums[m][1], sums[m][2], sums[m][3], out + m * stride);
      }
    }
  }
};

template <class Codes, int tokens, int rows, bool zeros, bool decoded, bool last>
inline __attribute__((always_inline)) void add_block(TileState<Codes, tokens, rows, zeros> &state,
                                                     const unsigned char *const (&source)[rows], const unsigned char *x,
                                                     int64_t x_token, int64_t at, __mmask64 there, int64_t ahead) {
  constexpr int vectors = Codes::vectors;
  if constexpr (decoded) {
    const unsigned char *panel = source[0] + at * (vectors * rows);
    for (int v = 0; v < vectors; ++v) {
      __m512i x_vector[tokens];
      for (int m = 0; m < tokens; ++m) x_vector[m] = _mm512_load_si512(x + m * x_token + v * 64);
      for (int n = 0; n < rows; ++n) {
        const __m512i row = _mm512_load_si512(panel + (v * rows + n) * 64);
        for (int m = 0; m < tokens; ++m) state.add(m, n, x_vector[m], row);
      }
    }
  } else {
    __m512i row[rows][vectors];
    for (int n = 0; n < rows; ++n) {
      if constexpr (!last) {
        __builtin_prefetch(source[n] + at + ahead, 0, 2);
        __builtin_prefetch(source[n] + at + 4 * code_block, 0, 3);
      }
      Codes::decode(last ? _mm512_maskz_loadu_epi8(there, source[n] + at) : _mm512_loadu_si512(source[n] + at), row[n]);
    }
    for (int v = 0; v < vectors; ++v) {
      for (int m = 0; m < tokens; ++m) {
        const __m512i x_vector = _mm512_load_si512(x + m * x_token + v * 64);
        for (int n = 0; n < rows; ++n) state.add(m, n, x_vector, row[n][v]);
      }
    }
  }
}

// out[m * stride + n]: the sums of a tile.
template <class Codes, int tokens, int rows, bool zeros, bool decoded>
__attribute__((noinline)) void multiply_tile(const Tile<Codes> &tile, float *out, int64_t stride) {
  const Layout<Codes> &layout = tile.layout;
  const int64_t x_block = layout.x_block, x_token = layout.blocks * x_block, floats_row = layout.floats_row;
  const int64_t end = (layout.blocks - 1) * code_block, run = layout.run, step = layout.step;
  const int64_t ahead = 2 * rows * layout.row_bytes;
  const __mmask64 there = ~__mmask64{0} >> (code_block - layout.tail_bytes);
  const unsigned char *source[rows], *x = tile.x;
  for (int n = 0; n < rows; ++n) source[n] = decoded ? tile.panel : tile.codes + n * layout.row_bytes;
  const float *scales = tile.scales, *minus_zeros = tile.minus_zeros;
  TileState<Codes, tokens, rows, zeros> state(layout);
  int64_t left = run;
  for (int64_t at = 0; at < end; at += code_block, x += x_block) {
    state.open(scales, minus_zeros, floats_row, x, x_token);
    add_block<Codes, tokens, rows, zeros, decoded, false>(state, source, x, x_token, at, there, ahead);
    state.close();
    if (--left == 0) {
      scales += step;
      minus_zeros += step;
      left = run;
    }
  }
  state.open(scales, minus_zeros, floats_row, x, x_token);
  add_block<Codes, tokens, rows, zeros, decoded, true>(state, source, x, x_token, end, there, ahead);
  state.close();
  state.finish(out, stride);
}

// All rows of a block for tokens t … t + tokens - 1.
template <class Codes, int tokens, bool zeros, bool decoded>
void multiply_tokens(const GroupedProduct &p, const Layout<Codes> &layout, int64_t t, int64_t f, int64_t count,
                     const RowScratch &scratch) {
  constexpr int64_t stride = most_rows + Lanes::width;
  alignas(64) float out[tokens * stride];
  const auto *x = static_cast<const unsigned char *>(p.product.x_TD) + t * layout.blocks * layout.x_block;
  const auto *codes = static_cast<const unsigned char *>(p.product.weight_FD);
  for (int64_t n = 0; n < count;) {
    const Tile<Codes> tile{p,
                           layout,
                           x,
                           codes + (f + n) * layout.row_bytes,
                           scratch.panel + n * layout.panel_row(),
                           scratch.scales + n * layout.floats_row,
                           scratch.minus_zeros + n * layout.floats_row};
    if (n + 4 <= count) {
      multiply_tile<Codes, tokens, 4, zeros, decoded>(tile, out + n, stride);
      n += 4;
    } else {
      multiply_tile<Codes, tokens, 1, zeros, decoded>(tile, out + n++, stride);
    }
  }
  for (int m = 0; m < tokens; ++m) finish<Lanes>(p.product, t + m, {nullptr, 0, f, count}, out + m * stride);
}

template <class Codes, bool zeros, bool decoded>
void multiply_block_of(const GroupedProduct &p, const Layout<Codes> &layout, int64_t f, int64_t count,
                       const RowScratch &scratch) {
  int64_t t = 0;
  const int64_t T = p.product.T;
  for (; t + 3 <= T; t += 3) multiply_tokens<Codes, 3, zeros, decoded>(p, layout, t, f, count, scratch);
  if (T - t == 2) multiply_tokens<Codes, 2, zeros, decoded>(p, layout, t, f, count, scratch);
  if (T - t == 1) multiply_tokens<Codes, 1, zeros, decoded>(p, layout, t, f, count, scratch);
}

// Rows f … f + count - 1 as bf16: by tiles of 4 rows, or of 1 at the end, and in a tile by vectors.
template <class Codes>
void decode_rows(const GroupedProduct &p, const Layout<Codes> &layout, int64_t f, int64_t count, unsigned char *panel) {
  const __mmask64 there = ~__mmask64{0} >> (code_block - layout.tail_bytes);
  const auto *codes = static_cast<const unsigned char *>(p.product.weight_FD) + f * layout.row_bytes;
  for (int64_t i = 0; i < count; ++i, codes += layout.row_bytes) {
    const int64_t together = i < count / 4 * 4 ? 4 : 1, first = i / together * together;
    unsigned char *to = panel + first * layout.panel_row() + (i - first) * 64;
    for (int64_t b = 0; b < layout.blocks; ++b) {
      const unsigned char *at = codes + b * code_block;
      __m512i row[Codes::vectors];
      Codes::decode(b + 1 < layout.blocks ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi8(there, at), row);
      for (int v = 0; v < Codes::vectors; ++v, to += together * 64) _mm512_store_si512(to, row[v]);
    }
  }
}

template <class Codes, bool zeros>
void grouped_rows(const GroupedProduct &p, int64_t begin, int64_t end, void *scratch) {
  const Layout<Codes> layout(p);
  auto *floats = static_cast<float *>(scratch);
  const int64_t size = most_rows * layout.floats_row;
  const RowScratch places{floats, floats + size, reinterpret_cast<unsigned char *>(floats + 2 * size)};
  for (int64_t f = begin; f < end; f += most_rows) {
    const int64_t count = end - f < most_rows ? end - f : most_rows;
    read_scales(p, layout, f, count, places);
    if (p.product.T <= most_tokens) {
      multiply_block_of<Codes, zeros, false>(p, layout, f, count, places);
    } else {
      decode_rows(p, layout, f, count, places.panel);
      multiply_block_of<Codes, zeros, true>(p, layout, f, count, places);
    }
  }
}

template <class Codes>
void rows_of(const GroupedProduct &p, int64_t begin, int64_t end, void *scratch) {
  if (p.zero_FN) return grouped_rows<Codes, true>(p, begin, end, scratch);
  grouped_rows<Codes, false>(p, begin, end, scratch);
}

// Calls one of three instances, by the type of the codes.
#define INGOT_BY_CODES(function, ...)                                                \
  (p.product.weight_dtype == INGOT_I4   ? function<HalfBytes<INGOT_I4>>(__VA_ARGS__) \
   : p.product.weight_dtype == INGOT_U4 ? function<HalfBytes<INGOT_U4>>(__VA_ARGS__) \
                                        : function<Bytes>(__VA_ARGS__))

int64_t x_bytes(const GroupedProduct &p) { return INGOT_BY_CODES(x_bytes_of, p); }
int64_t scratch_bytes(const GroupedProduct &p) { return INGOT_BY_CODES(scratch_bytes_of, p); }

void convert(const GroupedProduct &p, const void *x, int32_t, int64_t begin, int64_t end, void *to) {
  INGOT_BY_CODES(order_tokens, p, x, begin, end, static_cast<unsigned char *>(to));
}

void rows(const GroupedProduct &p, int64_t begin, int64_t end, void *scratch) {
  INGOT_BY_CODES(rows_of, p, begin, end, scratch);
}

#undef INGOT_BY_CODES

template <class Codes>
bool takes(int64_t group, int64_t D) {
  if (group == D || group % Codes::elements == 0) return true;
  return Codes::elements % group == 0 && group % Codes::lane_elements == 0;
}

}  // namespace

bool grouped_avx512_bf16_takes(int32_t code_dtype, int64_t group, int64_t D) {
  return is_half_byte(code_dtype) ? takes<HalfBytes<INGOT_I4>>(group, D) : takes<Bytes>(group, D);
}

GroupedKernel grouped_avx512_bf16() { return {x_bytes, scratch_bytes, convert, rows}; }

}  // namespace ingot
