// The scales, the bias and the rounding of products whose sums lie in memory as 32-bit numbers.
#include "ops/cuda/launch.h"
#include "ops/cuda/product_numbers.h"
#include "ops/cuda/product_stages.h"

namespace ingot {
namespace {

constexpr int together = 4, threads = 128;  // rows of weight of a thread; of a block

template <class Sum>
__global__ void __launch_bounds__(threads) finish(const Product p, const SumsPlace place, const Sum *sums) {
  let_next_launch();
  wait_for_previous();
  const int row = static_cast<int>(blockIdx.x * threads + threadIdx.x) * together;
  if (row >= place.rows) return;
  const int64_t t = place.first_token + static_cast<int>(blockIdx.y), f = place.first_row + row;
  const uint4 bits = *reinterpret_cast<const uint4 *>(sums + static_cast<int64_t>(blockIdx.y) * place.stride + row);
  const uint32_t raw[together] = {bits.x, bits.y, bits.z, bits.w};
  float numbers[together];
#pragma unroll
  for (int i = 0; i < together; ++i) {
    const float sum = static_cast<float>(reinterpret_cast<const Sum &>(raw[i]));
    numbers[i] = row + i < place.rows ? product_number(p, t, f + i, sum) : 0;
  }
  const int64_t at = t * p.F + f;
  if (p.F % together == 0 && row + together <= place.rows && p.y_dtype != INGOT_F32) {
    uint2 packed;
    if (p.y_dtype == INGOT_F16) {
      const __half2 low = __floats2half2_rn(numbers[0], numbers[1]), high = __floats2half2_rn(numbers[2], numbers[3]);
      packed = {reinterpret_cast<const uint32_t &>(low), reinterpret_cast<const uint32_t &>(high)};
    } else {
      const __nv_bfloat162 low = __floats2bfloat162_rn(numbers[0], numbers[1]);
      const __nv_bfloat162 high = __floats2bfloat162_rn(numbers[2], numbers[3]);
      packed = {reinterpret_cast<const uint32_t &>(low), reinterpret_cast<const uint32_t &>(high)};
    }
    *reinterpret_cast<uint2 *>(static_cast<uint16_t *>(p.y_TF) + at) = packed;
    return;
  }
#pragma unroll
  for (int i = 0; i < together; ++i) {
    if (row + i < place.rows) store_number(p.y_TF, p.y_dtype, at + i, numbers[i]);
  }
}

}  // namespace

cudaError_t launch_finish(const Product &p, const SumsPlace &place, const void *sums, int32_t sums_dtype,
                          cudaStream_t stream) {
  const int vectors = (place.rows + together - 1) / together;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>((vectors + threads - 1) / threads), static_cast<unsigned>(place.tokens));
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = p.sm >= 90 ? 1 : 0;
  if (sums_dtype == INGOT_I32) {
    return cudaLaunchKernelEx(&config, finish<int32_t>, p, place, static_cast<const int32_t *>(sums));
  }
  return cudaLaunchKernelEx(&config, finish<float>, p, place, static_cast<const float *>(sums));
}

}  // namespace ingot
