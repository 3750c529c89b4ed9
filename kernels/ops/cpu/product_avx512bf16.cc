// Products of bf16 pairs (vdpbf16ps); fp8 and int8 codes become bf16 exactly.
#include "ops/cpu/avx512_lanes.h"
#include "ops/cpu/bf16_codes.h"
#include "ops/cpu/product.h"
#include "ops/cpu/product_rows.h"

namespace ingot {
namespace {

struct Bf16Dot {
  using Lanes = Avx512Lanes;
  using X = __m512i;
  using Row = __m512i;
  static constexpr int64_t step = 32, x_bytes = 2, row_bytes = 2;
  static X load_x(const unsigned char *p) { return _mm512_loadu_si512(p); }
  static X load_x_some(const unsigned char *p, int64_t n) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), p);
  }
  static Row load_row(const unsigned char *p) { return load_x(p); }
  static Row load_row_some(const unsigned char *p, int64_t n) { return load_x_some(p, n); }
  static __m512 add(__m512 sum, X x, Row row) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)row); }
};

template <int32_t dtype>
struct CodeDot {
  using Lanes = Avx512Lanes;
  using X = Bf16Pair;
  using Row = Bf16Pair;
  static constexpr int64_t step = 64, x_bytes = 2, row_bytes = 1;
  static X load_x(const unsigned char *p) { return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 64)}; }
  static X load_x_some(const unsigned char *p, int64_t n) {
    return {Bf16Dot::load_x_some(p, n < 32 ? n : 32), Bf16Dot::load_x_some(p + 64, n < 32 ? 0 : n - 32)};
  }
  static Row load_row(const unsigned char *p) { return decode<dtype>(_mm512_loadu_si512(p)); }
  static Row load_row_some(const unsigned char *p, int64_t n) {
    return decode<dtype>(_mm512_maskz_loadu_epi8((__mmask64{1} << n) - 1, p));
  }
  static __m512 add(__m512 sum, const X &x, const Row &row) {
    return Bf16Dot::add(Bf16Dot::add(sum, x.first, row.first), x.second, row.second);
  }
};

template <int32_t dtype>
void decode_codes(const void *from, void *to, int64_t count) {
  const auto *codes = static_cast<const unsigned char *>(from);
  auto *bf16 = static_cast<unsigned char *>(to);
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const Bf16Pair pair = decode<dtype>(_mm512_loadu_si512(codes + i));
    _mm512_storeu_si512(bf16 + 2 * i, pair.first);
    _mm512_storeu_si512(bf16 + 2 * i + 64, pair.second);
  }
  if (i == count) return;
  const Bf16Pair pair = CodeDot<dtype>::load_row_some(codes + i, count - i);
  alignas(64) unsigned char buffer[128];
  _mm512_store_si512(buffer, pair.first);
  _mm512_store_si512(buffer + 64, pair.second);
  __builtin_memcpy(bf16 + 2 * i, buffer, static_cast<size_t>(2 * (count - i)));
}

void convert(const void *from, int32_t dtype, void *to, int64_t count) {
  if (dtype == INGOT_F8E4M3) return decode_codes<INGOT_F8E4M3>(from, to, count);
  decode_codes<INGOT_I8>(from, to, count);
}

void rows(const Product &p, int64_t begin, int64_t end, void *panel) {
  switch (p.weight_dtype) {
    case INGOT_BF16:
      return multiply_rows<Bf16Dot>(p, begin, end);
    case INGOT_F8E4M3:
      return multiply_codes<CodeDot<INGOT_F8E4M3>, Bf16Dot>(p, begin, end, panel, convert);
    default:
      return multiply_codes<CodeDot<INGOT_I8>, Bf16Dot>(p, begin, end, panel, convert);
  }
}

}  // namespace

ProductKernel product_avx512_bf16() { return {INGOT_BF16, Avx512Lanes::tile_tokens, convert, rows}; }

}  // namespace ingot
