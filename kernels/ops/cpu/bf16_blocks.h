// How codes of 4 and 8 bits become bf16 in blocks of 64 bytes, and where in a block each of their elements lies.
// Included only by files that are compiled for AVX-512 BF16 and VBMI.
#pragma once
#include "ops/cpu/avx512_lanes.h"
#include "ops/cpu/bf16_codes.h"
#include "ops/cpu/grouped_product.h"

namespace ingot {
namespace {

constexpr int64_t code_block = 64;  // bytes

// 128 codes of 4 bits: vector j holds half j of each 16-bit word, elements j, 4 + j, 8 + j, …
template <int32_t dtype>
struct HalfBytes {
  static constexpr int vectors = 4;
  static constexpr int64_t elements = 128, lane_elements = 8;
  static constexpr int64_t element(int vector, int64_t place) { return 4 * place + vector; }

  struct alignas(64) Values {
    uint16_t of[32];  // bf16; indices are five bits long, of which the highest is the next half's
  };
  static constexpr Values make_values() {
    Values values{};
    for (int i = 0; i < 32; ++i) {
      const int code = i & 15, value = dtype == INGOT_I4 && code > 7 ? code - 16 : code,
                size = value < 0 ? -value : value;
      int top = 0;
      while (size >> (top + 1)) ++top;
      const int bits = size ? (127 + top) << 7 | ((size << (7 - top)) & 127) : 0;
      values.of[i] = static_cast<uint16_t>(bits | (value < 0 ? 0x8000 : 0));
    }
    return values;
  }
  static constexpr Values values = make_values();

  static void decode(__m512i codes, __m512i *bf16) {
    const __m512i table = _mm512_load_si512(values.of);
    bf16[0] = _mm512_permutexvar_epi16(codes, table);
    bf16[1] = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 4), table);
    bf16[2] = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), table);
    bf16[3] = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 12), table);
  }
};

// 64 codes of 8 bits: a vector holds one half of each quarter.
struct Bytes {
  static constexpr int vectors = 2;
  static constexpr int64_t elements = 64, lane_elements = 16;
  static constexpr int64_t element(int vector, int64_t place) { return place / 8 * 16 + vector * 8 + place % 8; }

  static void decode(__m512i codes, __m512i *bf16) {
    const Bf16Pair pair = decode_quarters<INGOT_I8>(codes);
    bf16[0] = pair.first;
    bf16[1] = pair.second;
  }
};

// How a node's codes lie in blocks.
template <class Codes>
struct Layout {
  explicit Layout(const GroupedProduct &p)
      : D(p.product.D),
        groups(p.product.D / p.group),
        blocks((p.product.D + Codes::elements - 1) / Codes::elements),
        row_bytes(code_bytes(p.product.weight_dtype, p.product.D)),
        tail_bytes(row_bytes - (blocks - 1) * code_block),
        x_block((Codes::vectors + (p.zero_FN ? 1 : 0)) * 64),
        floats_row((groups + 15) / 16 * 16 + 16) {
    const int64_t in_block = groups > 1 && p.group < Codes::elements ? Codes::elements / p.group : 1;
    step = in_block;
    run = groups == 1 ? blocks : p.group < Codes::elements ? 1 : p.group / Codes::elements;
    // Sixteen lanes of 32 bits, in the order of the elements in steps of elements / 16.
    for (int lane = 0; lane < 16; ++lane) group_of_lane[lane] = static_cast<int32_t>(lane * in_block / 16);
  }

  int64_t D, groups, blocks, row_bytes, tail_bytes;
  int64_t x_block;     // bytes of a token's block: the vectors of bf16, then the lanes' sums if there are zero points
  int64_t floats_row;  // scales of a row, with room behind to read a whole vector from the last
  int64_t step, run;   // after so many blocks the group is so many further
  alignas(64) int32_t group_of_lane[16];

  int64_t panel_row() const { return blocks * Codes::vectors * 64; }
};

// Where in the natural order each element of a vector comes from.
template <class Codes>
struct Order {
  struct alignas(64) Places {
    uint16_t of[32];
  };
  static constexpr Places places(int vector) {
    Places places{};
    for (int i = 0; i < 32; ++i) places.of[i] = static_cast<uint16_t>(Codes::element(vector, i));
    return places;
  }
  static constexpr Places vector[4] = {places(0), places(1), places(2), places(3)};
};

template <class Codes>
inline __m512i in_order(int v, const __m512i *natural) {
  const __m512i places = _mm512_load_si512(Order<Codes>::vector[v].of);  // five bits, and one that chooses between two
  const __m512i low = _mm512_permutex2var_epi16(natural[0], places, natural[1]);
  if constexpr (Codes::vectors == 2) return low;
  const __m512i high = _mm512_permutex2var_epi16(natural[2], places, natural[3]);
  return _mm512_mask_mov_epi16(low, _mm512_cmpge_epu16_mask(places, _mm512_set1_epi16(64)), high);
}

}  // namespace
}  // namespace ingot
