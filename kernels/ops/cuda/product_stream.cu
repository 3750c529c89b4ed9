// Which tile streams the weights of a product.
#include <cstdio>

#include "ops/cuda/product_stream.h"

namespace ingot {
namespace {

// Eight warps whatever T, and so one order of summation. The tiles are the best of those that were timed on an H100
// and an H200 with the sizes of Llama-2-7B.
template <class Format>
cudaError_t launch_tiles(const Product &p, cudaStream_t on) {
  if (p.T <= 8) return launch_stream<Format, 8, 1, 1, 2>(p, on);
  if (p.T <= 16) return launch_stream<Format, 8, 2, 1, 2>(p, on);
  if (p.T <= 32) return launch_stream<Format, 8, 4, 2, 1>(p, on);
  return launch_stream<Format, 8, 8, 2, 1>(p, on);
}

int refuse(char *why, size_t n, const char *reason) {
  snprintf(why, n, "%s", reason);
  return 0;
}

}  // namespace

bool takes_stream_product(const Product &p, char *why, size_t n) {
  int64_t codes = 0;
  const auto note = [&](auto format) { codes = decltype(format)::codes; };
  if (p.N) return refuse(why, n, "it takes no groups");
  if (!with_format(p.x_dtype, p.weight_dtype, note)) {
    return refuse(why, n, "x and weight are no pair of types that tensor cores multiply");
  }
  if (p.D % codes) return refuse(why, n, "rows of weight must be multiples of 16 bytes");
  return true;
}

cudaError_t launch_stream_product(const Product &p, cudaStream_t on) {
  cudaError_t status = cudaErrorInvalidValue;
  with_format(p.x_dtype, p.weight_dtype, [&](auto format) { status = launch_tiles<decltype(format)>(p, on); });
  return status;
}

}  // namespace ingot
