// random and random_codes of ingot_device.h: weights that are made, not read.
//
// Making a number is a few integer operations, much cheaper than a byte over PCIe; so the codes and the scales of a
// matrix are each made from the numbers again, and nothing lies in between.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/errors.h"
#include "random_number.h"

namespace ingot::cuda {
namespace {

constexpr int32_t threads = 256, warps = threads / 32;
constexpr int64_t most_blocks = 1 << 20;

__device__ float number_of(const IngotRandomRows &rows, int64_t i) {
  return rows.ones ? 1.f : random_number(rows.seed, rows.offset + static_cast<uint64_t>(i), rows.scale);
}

// x as a float of that type holds it.
__device__ float rounded(float x, int32_t dtype) {
  if (dtype == INGOT_BF16) return __bfloat162float(__float2bfloat16_rn(x));
  return dtype == INGOT_F16 ? __half2float(__float2half_rn(x)) : x;
}

__device__ void store(void *to, int32_t dtype, int64_t i, float x) {
  if (dtype == INGOT_BF16) {
    static_cast<__nv_bfloat16 *>(to)[i] = __float2bfloat16_rn(x);
  } else if (dtype == INGOT_F16) {
    static_cast<__half *>(to)[i] = __float2half_rn(x);
  } else {
    static_cast<float *>(to)[i] = x;
  }
}

__global__ void __launch_bounds__(threads) numbers(IngotRandomRows rows, int32_t dtype, void *to, int64_t first) {
  const int64_t count = rows.rows * rows.columns;
  for (int64_t i = blockIdx.x * static_cast<int64_t>(threads) + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * threads)
    store(to, dtype, first + i, number_of(rows, i));
}

// How the numbers of one group become codes: x is about (code - zero) * scale.
struct Formula {
  float scale, zero, least, greatest;
};

__device__ Formula formula_of(const IngotRandomCodes &how, float low, float high) {
  if (how.codes == INGOT_F8E4M3) return {fmaxf(__fdiv_rn(fmaxf(-low, high), 448.f), 1e-12f), 0, -448, 448};
  const float bits = how.codes == INGOT_I8 ? 256 : 16;
  float least = how.codes == INGOT_U4 ? 0 : -bits / 2, greatest = least + bits - 1;
  if (!how.zero_points) ++least;  // the code without an opposite
  const float range = how.zero_points ? fmaxf(high, 0.f) - fminf(low, 0.f) : fmaxf(-low, high);
  float scale = rounded(__fdiv_rn(range, how.zero_points ? greatest - least : greatest), how.scale_dtype);
  if (scale == 0) scale = 1;
  if (!how.zero_points) return {scale, 0, least, greatest};
  const float zero = rintf(__fsub_rn(least, __fdiv_rn(fminf(low, 0.f), scale)));
  return {scale, fminf(fmaxf(zero, least), greatest), least, greatest};
}

__device__ uint8_t code_of(const IngotRandomCodes &how, const Formula &formula, float x) {
  const float over = __fdiv_rn(x, formula.scale);
  if (how.codes == INGOT_F8E4M3) return __nv_cvt_float_to_fp8(over, __NV_SATFINITE, __NV_E4M3);
  const float code = fminf(fmaxf(rintf(over) + formula.zero, formula.least), formula.greatest);
  return static_cast<uint8_t>(static_cast<int32_t>(code));
}

// A warp goes through the numbers of group g.
__device__ Formula formula_of_group(const IngotRandomRows &rows, const IngotRandomCodes &how, int64_t g) {
  float low = INFINITY, high = -INFINITY;
  for (int64_t i = threadIdx.x % 32; i < how.group; i += 32) {
    const float x = rounded(number_of(rows, g * how.group + i), how.source);
    low = fminf(low, x);
    high = fmaxf(high, x);
  }
  for (uint32_t d = 16; d > 0; d /= 2) {
    low = fminf(low, __shfl_xor_sync(~0u, low, d));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, d));
  }
  return formula_of(how, low, high);
}

__device__ bool in_halves(int32_t codes) { return codes == INGOT_I4 || codes == INGOT_U4; }

// A warp a group, or two groups whose zero points share a byte. `first`: the number before the part's.
__global__ void __launch_bounds__(threads)
    codes(IngotRandomRows rows, IngotRandomCodes how, uint8_t *to, int64_t first) {
  const int64_t group = how.group, groups = rows.rows * (rows.columns / group), before = first / group;
  const bool halves = in_halves(how.codes), pairs = halves && how.part == INGOT_ZERO_POINTS;
  const auto lane = static_cast<int64_t>(threadIdx.x % 32);
  const int64_t warp = blockIdx.x * static_cast<int64_t>(warps) + threadIdx.x / 32;
  const int64_t step = static_cast<int64_t>(gridDim.x) * warps;
  for (int64_t g = warp * (pairs ? 2 : 1); g < groups; g += step * (pairs ? 2 : 1)) {
    const Formula formula = formula_of_group(rows, how, g);
    const auto code = [&](int64_t i) {
      return code_of(how, formula, rounded(number_of(rows, g * group + i), how.source));
    };
    if (how.part == INGOT_SCALES) {
      if (lane == 0) store(to, how.scale_dtype, before + g, formula.scale);
    } else if (how.part == INGOT_ZERO_POINTS) {
      const auto zero = static_cast<int32_t>(formula.zero);
      const int32_t other = pairs ? static_cast<int32_t>(formula_of_group(rows, how, g + 1).zero) : 0;
      if (lane == 0)
        to[pairs ? (before + g) / 2 : before + g] = static_cast<uint8_t>(pairs ? (zero & 15) | other << 4 : zero);
    } else if (halves) {
      for (int64_t i = 2 * lane; i < group; i += 64)
        to[(first + g * group + i) / 2] = static_cast<uint8_t>((code(i) & 15) | code(i + 1) << 4);
    } else {
      for (int64_t i = lane; i < group; i += 32) to[first + g * group + i] = code(i);
    }
  }
}

unsigned blocks_for(int64_t work, int64_t each) {
  return static_cast<unsigned>(std::clamp<int64_t>((work + each - 1) / each, 1, most_blocks));
}

}  // namespace

int random(void *self, const IngotRandomRows *parts, int32_t n_parts, int32_t dtype, void *to) {
  Device &device = entered(self);
  int64_t first = 0;
  for (int32_t p = 0; p < n_parts; ++p) {
    const IngotRandomRows &part = parts[p];
    const int64_t count = part.rows * part.columns;
    if (count == 0) continue;
    numbers<<<blocks_for(count, 16 * threads), threads, 0, device.stream>>>(part, dtype, to, first);
    first += count;
  }
  return report(device, cudaGetLastError(), "making random weights");
}

int random_codes(void *self, const IngotRandomRows *parts, int32_t n_parts, const IngotRandomCodes *how, void *to) {
  Device &device = entered(self);
  IngotCtx *ctx = device.ctx;
  const bool zeros = how->part == INGOT_ZERO_POINTS, halves = how->codes == INGOT_I4 || how->codes == INGOT_U4;
  int64_t first = 0;
  for (int32_t p = 0; p < n_parts; ++p) {
    const IngotRandomRows &part = parts[p];
    if (how->group < 1 || part.columns % how->group) {
      return ctx->host->error(ctx, "random codes: groups of %lld do not divide rows of %lld",
                              static_cast<long long>(how->group), static_cast<long long>(part.columns));
    }
    const int64_t groups = part.rows * (part.columns / how->group);
    if (halves && (zeros ? groups : how->group) % 2)
      return ctx->host->error(ctx, "random codes: two of 4 bits share a byte, and there is an odd number of them");
    if (groups == 0) continue;
    codes<<<blocks_for(groups, warps), threads, 0, device.stream>>>(part, *how, static_cast<uint8_t *>(to), first);
    first += part.rows * part.columns;
  }
  return report(device, cudaGetLastError(), "making random codes");
}

}  // namespace ingot::cuda
