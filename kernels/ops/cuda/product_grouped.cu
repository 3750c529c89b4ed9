// Products with weights of four or eight bits in groups, streamed as the others: product_stream.h.
#include <cstdio>

#include "ops/cuda/product_stream.h"

namespace ingot {
namespace {

// Four lanes take 64 bytes of a row at a time: so many codes, of so many groups.
int codes_at_once(const Product &p) { return p.weight_dtype == INGOT_I8 ? 64 : 128; }

int groups_at_once(const Product &p) {
  const int codes = codes_at_once(p), group = p.D / p.N;
  if (group % codes == 0) return 1;
  return codes % group == 0 && codes / group <= 4 ? codes / group : 0;
}

template <class Format>
cudaError_t launch_format(const Product &p, cudaStream_t on) {
  constexpr int token_tiles = Format::groups == 1 ? 4 : 2;  // as many as registers hold
  return p.T <= 8 ? launch_stream<Format, 8, 1, 1, 2>(p, on) : launch_stream<Format, 8, token_tiles, 2, 1>(p, on);
}

template <class X>
cudaError_t launch_x(const Product &p, cudaStream_t on) {
  const int groups = groups_at_once(p);
  if (p.weight_dtype == INGOT_I8) {
    if (groups == 1) return launch_format<GroupedI8<X, 1>>(p, on);
    if (groups == 2) return launch_format<GroupedI8<X, 2>>(p, on);
    return launch_format<GroupedI8<X, 4>>(p, on);
  }
  if (groups == 1) return launch_format<GroupedI4<X, 1>>(p, on);
  if (groups == 2) return launch_format<GroupedI4<X, 2>>(p, on);
  return launch_format<GroupedI4<X, 4>>(p, on);
}

}  // namespace

bool takes_grouped_product(const Product &p, char *why, size_t n) {
  const char *reason = nullptr;
  if (!p.N || (p.x_dtype != INGOT_F16 && p.x_dtype != INGOT_BF16)) {
    reason = "x must be f16 or bf16";
  } else if (p.D % (codes_at_once(p) / 4)) {
    reason = "rows of weight must be multiples of 16 bytes";
  } else if (!groups_at_once(p)) {
    reason = "a group must be 1, 1/2 or 1/4 of 64 bytes of codes, or a multiple of it";
  } else if (static_cast<int64_t>(p.D) * (p.D / p.N) >= int64_t{1} << 32) {
    reason = "rows and groups are too long";
  }
  if (reason) snprintf(why, n, "%s", reason);
  return !reason;
}

cudaError_t launch_grouped_product(const Product &p, cudaStream_t on) {
  return p.x_dtype == INGOT_F16 ? launch_x<ToF16>(p, on) : launch_x<ToBf16>(p, on);
}

}  // namespace ingot
