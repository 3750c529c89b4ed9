// Weights of four and eight bits as numbers of 16 bits.
#include "ops/cuda/launch.h"
#include "ops/cuda/product_numbers.h"
#include "ops/cuda/product_stages.h"
#include "ops/cuda/vectors.h"

namespace ingot {
namespace {

constexpr int codes = 16, threads = 128;  // of a thread; of a block

// Sixteen codes as numbers. raw: their 16 bytes, or for codes of four bits 8.
__device__ void to_numbers(const uint32_t (&raw)[4], int32_t dtype, float (&numbers)[codes]) {
#pragma unroll
  for (int i = 0; i < codes; ++i) {
    if (dtype == INGOT_F8E4M3) {
      const uint32_t pair = raw[i / 4] >> (i / 2 % 2 * 16);
      const float2 two = from_e4m3(static_cast<uint16_t>(pair));
      numbers[i] = i % 2 ? two.y : two.x;
    } else if (dtype == INGOT_I8) {
      numbers[i] = static_cast<float>(static_cast<int8_t>(raw[i / 4] >> (i % 4 * 8)));
    } else {
      const int code = static_cast<int>(raw[i / 8] >> (i % 8 * 4) & 15);
      numbers[i] = static_cast<float>(dtype == INGOT_I4 && code > 7 ? code - 16 : code);
    }
  }
}

template <class X>
__global__ void __launch_bounds__(threads) unpack(const Product p, int first_row, X *weight_RD) {
  let_next_launch();
  const int row = static_cast<int>(blockIdx.y), at = static_cast<int>(blockIdx.x * threads + threadIdx.x) * codes;
  const int64_t begin = (static_cast<int64_t>(first_row) + row) * p.D + at;
  const bool wide = p.weight_dtype == INGOT_F8E4M3 || p.weight_dtype == INGOT_I8;
  uint32_t raw[4] = {};
  float scale = 1, zero = 0;
  if (at < p.D) {
    if (wide) {
      const uint4 bits = *reinterpret_cast<const uint4 *>(static_cast<const uint8_t *>(p.weight_FD) + begin);
      raw[0] = bits.x, raw[1] = bits.y, raw[2] = bits.z, raw[3] = bits.w;
    } else {
      const uint2 bits = *reinterpret_cast<const uint2 *>(static_cast<const uint8_t *>(p.weight_FD) + begin / 2);
      raw[0] = bits.x, raw[1] = bits.y;
    }
    if (p.N) {
      const int64_t n = (static_cast<int64_t>(first_row) + row) * p.N + at / (p.D / p.N);
      scale = number_at(p.group_scale_FN, p.group_scale_dtype, n);
      if (p.zero_FN) zero = static_cast<float>(p.zero_FN[n]);
    }
  }
  float numbers[codes];
  if (wide) {
    p.weight_dtype == INGOT_I8 ? to_numbers(raw, INGOT_I8, numbers) : to_numbers(raw, INGOT_F8E4M3, numbers);
  } else {
    p.weight_dtype == INGOT_I4 ? to_numbers(raw, INGOT_I4, numbers) : to_numbers(raw, INGOT_U4, numbers);
  }
  wait_for_previous();  // it may read the weights of the part before
  if (at >= p.D) return;
  constexpr int size = Vector<X>::size;
  X *to = weight_RD + static_cast<int64_t>(row) * p.D + at;
#pragma unroll
  for (int v = 0; v < codes / size; ++v) {
    float some[size];
#pragma unroll
    for (int i = 0; i < size; ++i) some[i] = (numbers[v * size + i] - zero) * scale;
    store_vector(to, v, from_floats<X>(some));
  }
}

}  // namespace

cudaError_t launch_unpack(const Product &p, int32_t first_row, int32_t rows, void *weight_RD, cudaStream_t stream) {
  const int vectors = p.D / codes;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>((vectors + threads - 1) / threads), static_cast<unsigned>(rows));
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = p.sm >= 90 ? 1 : 0;
  if (p.x_dtype == INGOT_F16) {
    return cudaLaunchKernelEx(&config, unpack<__half>, p, first_row, static_cast<__half *>(weight_RD));
  }
  return cudaLaunchKernelEx(&config, unpack<__nv_bfloat16>, p, first_row, static_cast<__nv_bfloat16 *>(weight_RD));
}

}  // namespace ingot
