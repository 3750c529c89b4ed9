// Attention of a few query rows over their keys, for any instruction set. K is padded to whole vectors with zeros.
#pragma once
#include <cstdint>

#include "ops/cpu/attention.h"
#include "ops/cpu/dot_tile.h"

namespace ingot {

// Query rows (a token and a head each) that share a sequence and a key/value head.
template <class L>
struct AttentionTile {
  static constexpr int64_t together = L::tile_tokens < 4 ? 2 : 4;  // rows whose sums fit the registers
  static constexpr int64_t padded_head = max_head_size;

  // Leaves the arrays as they are: there is more of them than some tiles take time.
  AttentionTile(const Attention &attention, const int32_t *pages, int64_t group_of_all, int64_t row_count)
      : a(attention),
        pages_M(pages),
        group(group_of_all),
        rows(row_count),
        stride((a.K + L::width - 1) / L::width * L::width) {}

  const Attention &a;
  const int32_t *pages_M;
  const int64_t group, rows, stride;  // stride: K in whole vectors
  int64_t first[attention_rows];      // positions that the row sees: first … last
  int64_t last[attention_rows];
  int64_t begin[attention_rows];  // keys of the block that the row sees: begin … end-1
  int64_t end[attention_rows];
  float slope[attention_rows];
  float highest[attention_rows];             // score so far
  alignas(64) float factor[attention_rows];  // what the sums so far are multiplied with
  alignas(64) float weights[attention_rows][attention_block];
  alignas(64) float total[attention_rows][L::width];
  const unsigned char *ahead[attention_block];
  int64_t next, planned;  // of ahead
  alignas(64) float q[attention_rows * padded_head];
  alignas(64) float sums[attention_rows * padded_head];
  alignas(64) float block[attention_block * padded_head];  // keys, then values

  void open_row(int64_t r, int64_t t, int64_t head);
  void close_row(int64_t r, int64_t t, int64_t head) const;
  void attend();

 private:
  void read_block(const void *cache_PGWK, int64_t start, int64_t from, int64_t to);
  const unsigned char *cell(const void *cache_PGWK, int64_t position) const;
  void plan_fetch(const void *cache_PGWK, int64_t from, int64_t to);
  void fetch(int64_t count);
  bool alike(int64_t r) const;
  void score_block();
  template <int tokens>
  void score_rows(int64_t r);
  void weigh_block(int64_t start);
  void adjust_row(int64_t r, int64_t start);
  void weigh_row(int64_t r);
  void sum_block();
  template <int tokens>
  void sum_rows(int64_t r);
  template <int tokens, int vectors>
  void sum_columns(int64_t r, int64_t column);
};

template <class L>
void AttentionTile<L>::open_row(int64_t r, int64_t t, int64_t head) {
  last[r] = a.positions_T[t];
  first[r] = a.window && last[r] >= a.window ? last[r] - a.window + 1 : 0;
  slope[r] = a.slopes_H ? a.slopes_H[head] : 0;
  highest[r] = a.sinks_H ? a.sinks_H[head] : -__builtin_inff();
  for (int64_t i = 0; i < L::width; ++i) total[r][i] = 0;
  if (highest[r] > -__builtin_inff()) total[r][0] = 1;
  float *row = q + r * stride;
  for (int64_t k = 0; k < stride; ++k) row[k] = sums[r * stride + k] = 0;
  const auto *source = static_cast<const unsigned char *>(a.q_THK) + (t * a.H + head) * a.K * element_bytes(a.dtype);
  convert_from<L, INGOT_F32>(source, a.dtype, row, a.K);
}

template <class L>
void AttentionTile<L>::close_row(int64_t r, int64_t t, int64_t head) const {
  const auto sum = L::set(L::sum(L::load(total[r]))), scale = L::set(a.v_scale);
  alignas(64) float y[padded_head];
  for (int64_t k = 0; k < stride; k += L::width) {
    L::store(y + k, L::mul(L::div(L::load(sums + r * stride + k), sum), scale));
  }
  auto *target = static_cast<unsigned char *>(a.y_THK) + (t * a.H + head) * a.K * element_bytes(a.dtype);
  switch (a.dtype) {
    case INGOT_F32:
      return convert_elements<L, INGOT_F32, INGOT_F32>(y, target, a.K);
    case INGOT_F16:
      return convert_elements<L, INGOT_F32, INGOT_F16>(y, target, a.K);
    default:
      return convert_elements<L, INGOT_F32, INGOT_BF16>(y, target, a.K);
  }
}

template <class L>
void AttentionTile<L>::attend() {
  int64_t from = first[0], to = last[0];
  for (int64_t r = 1; r < rows; ++r) {
    from = first[r] < from ? first[r] : from;
    to = last[r] > to ? last[r] : to;
  }
  for (int64_t start = from / attention_block * attention_block; start <= to; start += attention_block) {
    const int64_t low = start < from ? from : start;
    const int64_t high = start + attention_block <= to ? start + attention_block : to + 1;
    for (int64_t r = 0; r < rows; ++r) {
      begin[r] = (first[r] > start ? first[r] : start) - start;
      end[r] = (last[r] < high ? last[r] + 1 : high) - start;
    }
    read_block(a.cache_k_PGWK, start, low, high);
    plan_fetch(a.cache_v_PGWK, low, high);
    score_block();
    weigh_block(start);
    read_block(a.cache_v_PGWK, start, low, high);
    plan_fetch(a.cache_k_PGWK, high, high + attention_block <= to ? high + attention_block : to + 1);
    sum_block();
  }
}

template <class L>
const unsigned char *AttentionTile<L>::cell(const void *cache_PGWK, int64_t position) const {
  const int64_t index = (pages_M[position / a.W] * a.G + group) * a.W + position % a.W;
  return static_cast<const unsigned char *>(cache_PGWK) + index * a.K * element_bytes(a.cache_dtype);
}

// Positions from … to-1 are what is read next. They are fetched little by little meanwhile: all at once would find no
// buffers free.
template <class L>
void AttentionTile<L>::plan_fetch(const void *cache_PGWK, int64_t from, int64_t to) {
  const int64_t row_bytes = a.K * element_bytes(a.cache_dtype);
  next = planned = 0;
  while (from + planned < to) {
    const int64_t p = from + planned, left = a.W - p % a.W, run = left < to - p ? left : to - p;
    const unsigned char *row = cell(cache_PGWK, p);
    for (int64_t i = 0; i < run; ++i) ahead[planned++] = row + i * row_bytes;
  }
}

template <class L>
void AttentionTile<L>::fetch(int64_t count) {
  const int64_t bytes = a.K * element_bytes(a.cache_dtype);
  for (const int64_t end = next + count < planned ? next + count : planned; next < end; ++next) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead[next] + i, 0, 2);
  }
}

// Positions from … to-1 as floats; that of `start` would be row 0.
template <class L>
void AttentionTile<L>::read_block(const void *cache_PGWK, int64_t start, int64_t from, int64_t to) {
  const int64_t row_bytes = a.K * element_bytes(a.cache_dtype);
  for (int64_t p = from, run; p < to; p += run) {
    const int64_t left = a.W - p % a.W;
    run = left < to - p ? left : to - p;
    const unsigned char *source = cell(cache_PGWK, p);
    float *target = block + (p - start) * stride;
    if (stride == a.K) {
      convert_from<L, INGOT_F32>(source, a.cache_dtype, target, run * a.K);
      continue;
    }
    for (int64_t i = 0; i < run; ++i, target += stride) {
      for (int64_t k = a.K; k < stride; ++k) target[k] = 0;
      convert_from<L, INGOT_F32>(source + i * row_bytes, a.cache_dtype, target, a.K);
    }
  }
}

// Whether rows r … r + together - 1 see the same keys of the block.
template <class L>
bool AttentionTile<L>::alike(int64_t r) const {
  if (r + together > rows) return false;
  for (int64_t i = r + 1; i < r + together; ++i) {
    if (begin[i] != begin[r] || end[i] != end[r]) return false;
  }
  return true;
}

template <class L>
void AttentionTile<L>::score_block() {
  for (int64_t r = 0; r < rows;) {
    if (alike(r)) {
      score_rows<together>(r);
      r += together;
    } else {
      score_rows<1>(r++);
    }
  }
}

template <class L>
template <int tokens>
void AttentionTile<L>::score_rows(int64_t r) {
  using Dot = FloatDot<L, INGOT_F32>;
  const auto *x = reinterpret_cast<const unsigned char *>(q + r * stride);
  for (int64_t j = begin[r]; j < end[r];) {
    fetch(4);
    const TilePlace at{x, reinterpret_cast<const unsigned char *>(block + j * stride), stride * 4, stride * 4};
    if (j + 4 <= end[r]) {
      TileSums<Dot, tokens, 4> dots = {};
      walk<Dot, tokens, 4>(dots, at, stride, 0);
      sum_tile<Dot, tokens, 4>(dots, &weights[r][j], attention_block);
      j += 4;
    } else {
      TileSums<Dot, tokens, 1> dots = {};
      walk<Dot, tokens, 1>(dots, at, stride, 0);
      sum_tile<Dot, tokens, 1>(dots, &weights[r][j++], attention_block);
    }
  }
}

template <class L>
void AttentionTile<L>::weigh_block(int64_t start) {
  for (int64_t r = 0; r < rows; ++r) {
    if (begin[r] >= end[r]) continue;
    adjust_row(r, start);
    weigh_row(r);
  }
}

// Products become scores; those of keys that the row does not see -inf.
template <class L>
void AttentionTile<L>::adjust_row(int64_t r, int64_t start) {
  float *row = weights[r];
  alignas(64) float distance[attention_block];
  for (int64_t j = 0; j < attention_block; ++j) distance[j] = static_cast<float>(start + j - last[r]);
  for (int64_t j = 0; j < begin[r]; ++j) row[j] = 0;
  for (int64_t j = end[r]; j < attention_block; ++j) row[j] = 0;
  const auto cap = L::set(a.softcap), inverse = L::set(a.softcap > 0 ? -2 / a.softcap : 0), one = L::set(1);
  for (int64_t j = 0; j < attention_block; j += L::width) {
    auto score = L::mul(L::load(row + j), L::set(a.scale));
    if (a.softcap > 0) {  // tanh |s| = (1 - e^-2|s|) / (1 + e^-2|s|)
      const auto e = exponential<L>(L::mul(L::magnitude(score), inverse));
      score = L::with_sign(L::mul(cap, L::div(L::sub(one, e), L::add(one, e))), score);
    }
    L::store(row + j, L::fma(L::set(slope[r]), L::load(distance + j), score));
  }
  for (int64_t j = 0; j < begin[r]; ++j) row[j] = -__builtin_inff();
  for (int64_t j = end[r]; j < attention_block; ++j) row[j] = -__builtin_inff();
}

// Scores become weights; the running maximum and sum go on.
template <class L>
void AttentionTile<L>::weigh_row(int64_t r) {
  float *row = weights[r];
  auto most = L::set(-3.4e38f);  // finite: a block of -inf alone weighs 0
  for (int64_t j = 0; j < attention_block; j += L::width) most = L::max(L::load(row + j), most);
  const float block_highest = L::largest(most), before = highest[r];
  highest[r] = block_highest > before ? block_highest : before;
  const auto shift = L::set(highest[r]), rescale = exponential<L>(L::sub(L::set(before), shift));
  auto sum = L::mul(L::load(total[r]), rescale);
  for (int64_t j = 0; j < attention_block; j += L::width) {
    const auto weight = exponential<L>(L::sub(L::load(row + j), shift));
    L::store(row + j, weight);
    sum = L::add(sum, weight);
  }
  L::store(total[r], sum);
  alignas(64) float factors[L::width];
  L::store(factors, rescale);
  factor[r] = factors[0];
}

template <class L>
void AttentionTile<L>::sum_block() {
  for (int64_t r = 0; r < rows;) {
    if (alike(r)) {
      sum_rows<together>(r);
      r += together;
    } else {
      sum_rows<1>(r++);
    }
  }
}

template <class L>
template <int tokens>
void AttentionTile<L>::sum_rows(int64_t r) {
  if (begin[r] >= end[r]) return;
  int64_t column = 0;
  for (; column + 4 * L::width <= stride; column += 4 * L::width) sum_columns<tokens, 4>(r, column);
  for (; column < stride; column += L::width) sum_columns<tokens, 1>(r, column);
}

template <class L>
template <int tokens, int vectors>
void AttentionTile<L>::sum_columns(int64_t r, int64_t column) {
  typename L::Vector y[tokens][vectors];
  for (int m = 0; m < tokens; ++m) {
    const auto scale = L::set(factor[r + m]);
    for (int v = 0; v < vectors; ++v) y[m][v] = L::mul(L::load(sums + (r + m) * stride + column + v * L::width), scale);
  }
  for (int64_t j = begin[r]; j < end[r];) {
    const int64_t stop = j + 8 < end[r] ? j + 8 : end[r];
    fetch(8);
    for (; j < stop; ++j) {
      typename L::Vector value[vectors];
      for (int v = 0; v < vectors; ++v) value[v] = L::load(block + j * stride + column + v * L::width);
      for (int m = 0; m < tokens; ++m) {
        const auto weight = L::set(weights[r + m][j]);
        for (int v = 0; v < vectors; ++v) y[m][v] = L::fma(weight, value[v], y[m][v]);
      }
    }
  }
  for (int m = 0; m < tokens; ++m) {
    for (int v = 0; v < vectors; ++v) L::store(sums + (r + m) * stride + column + v * L::width, y[m][v]);
  }
}

}  // namespace ingot
