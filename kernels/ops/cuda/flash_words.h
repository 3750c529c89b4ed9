// Words of two 16-bit numbers, as tensor cores take them, and how they come from memory: PTX ISA, "movmatrix",
// "ldmatrix", "cp.async"; from sm_80 on.
#pragma once
#include <type_traits>

#include "ops/cuda/mma.h"
#include "ops/cuda/vectors.h"

namespace ingot {

using BFloat = __nv_bfloat16;

template <class C>
using MmaOf = std::conditional_t<std::is_same_v<C, BFloat>, Bf16Mma, F16Mma>;
template <class C>
using NumberOf = std::conditional_t<std::is_same_v<C, BFloat>, BFloat, __half>;

// 16 bytes that nobody reads again.
__device__ inline uint4 load_once(const void *from) {
  uint4 to;
  asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
               : "l"(from)
               : "memory");
  return to;
}

__device__ inline uint32_t word(const uint4 &from, int i) {
  return i == 0 ? from.x : i == 1 ? from.y : i == 2 ? from.z : from.w;
}

__device__ inline uint32_t low_halves(uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x5410); }
__device__ inline uint32_t high_halves(uint32_t a, uint32_t b) { return __byte_perm(a, b, 0x7632); }

// Two e4m3 codes as two f16.
__device__ inline uint32_t two_f16(uint32_t codes) {
  const __half2_raw two = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), __NV_E4M3);
  return two.x | static_cast<uint32_t>(two.y) << 16;
}

__device__ inline uint32_t transposed(uint32_t matrix_row) {
  uint32_t to;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(to) : "r"(matrix_row));
  return to;
}

// a in the low half.
template <class N>
__device__ inline uint32_t pair_of(float a, float b) {
  if constexpr (std::is_same_v<N, BFloat>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t *>(&pair);
  } else {
    const __half2 pair = __floats2half2_rn(a, b);
    return *reinterpret_cast<const uint32_t *>(&pair);
  }
}

template <class N>
__device__ inline float2 numbers_of(uint32_t pair) {
  if constexpr (std::is_same_v<N, BFloat>) {
    return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&pair));
  } else {
    return __half22float2(*reinterpret_cast<const __half2 *>(&pair));
  }
}

using Address = uint32_t;

__device__ inline Address address_of(const void *shared) {
  return static_cast<Address>(__cvta_generic_to_shared(shared));
}

// 16 bytes, zeros unless `there`.
__device__ inline void copy_chunk(Address to, const void *from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
__device__ inline void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// Four matrices of 8 x 8 elements, of which a lane names a row.
__device__ inline void load_matrices(uint32_t (&to)[4], Address row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}
__device__ inline void load_transposed(uint32_t (&to)[4], Address row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(row)
               : "memory");
}

}  // namespace ingot
