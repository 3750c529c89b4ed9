// The matrix instruction of four warps, from sm_90a on: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
// 64 rows of a and N of b lie in shared memory, 128 bytes a row, in the swizzle of 128 bytes; lane 4g+t of warp w of
// the four holds of the sum rows 16w+g and 16w+g+8, columns 8i+2t and 8i+2t+1 in d[4i…4i+3].
#pragma once
#include <cstdint>

#include "ingot_op.h"

namespace ingot {

// Rows of 128 bytes, eight rows together, from a multiple of 1024 bytes of shared memory. 32 bytes further in a row: 2
// more.
__device__ inline uint64_t wgmma_operand(uint32_t shared_address) {
  const uint64_t between_eights = 1024 >> 4, swizzle_128 = 1;
  return (shared_address & 0x3ffff) >> 4 | uint64_t{1} << 16 | between_eights << 32 | swizzle_128 << 62;
}

__device__ inline void wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// What was issued is done, its sums can be read and its operands overwritten.
__device__ inline void wgmma_end() {
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#define INGOT_WGMMA_8(NAME, TAIL)                                                                 \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\nwgmma.mma_async.sync.aligned.m64n8" NAME \
               " {"                                                                               \
               "%0,%1,%2,%3"                                                                      \
               "}, %4, %5, p, 1, 1" TAIL ";\n}"                                                   \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                   \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))

#define INGOT_WGMMA_16(NAME, TAIL)                                                                              \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\nwgmma.mma_async.sync.aligned.m64n16" NAME             \
               " {"                                                                                             \
               "%0,%1,%2,%3,%4,%5,%6,%7"                                                                        \
               "}, %8, %9, p, 1, 1" TAIL ";\n}"                                                                 \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]) \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))

#define INGOT_WGMMA_32(NAME, TAIL)                                                                                    \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\nwgmma.mma_async.sync.aligned.m64n32" NAME                   \
               " {"                                                                                                   \
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"                                                \
               "}, %16, %17, p, 1, 1" TAIL ";\n}"                                                                     \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),      \
                 "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]) \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))

#define INGOT_WGMMA_64(NAME, TAIL)                                                                                     \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64" NAME                    \
               " {"                                                                                                    \
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"            \
               "%25,%26,%27,%28,%29,%30,%31"                                                                           \
               "}, %32, %33, p, 1, 1" TAIL ";\n}"                                                                      \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),       \
                 "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
                 "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),            \
                 "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),            \
                 "+f"(d[30]), "+f"(d[31])                                                                              \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))

#define INGOT_WGMMA_128(NAME, TAIL)                                                                                    \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128" NAME                   \
               " {"                                                                                                    \
               "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"            \
               "%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,"              \
               "%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"                                   \
               "}, %64, %65, p, 1, 1" TAIL ";\n}"                                                                      \
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),       \
                 "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
                 "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),            \
                 "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),            \
                 "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),            \
                 "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),            \
                 "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),            \
                 "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),            \
                 "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])                          \
               : "l"(a), "l"(b), "r"(static_cast<int>(add)))

// d = a b^T, plus d where `add`. Numbers of 16 bits: 16 of each row; e4m3: 32.
template <int dtype, int N>
__device__ inline void wgmma([[maybe_unused]] float (&d)[N / 2], [[maybe_unused]] uint64_t a,
                             [[maybe_unused]] uint64_t b, [[maybe_unused]] bool add) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define INGOT_WGMMA(SIZE)                                                                            \
  if constexpr (N == SIZE && dtype == INGOT_BF16) INGOT_WGMMA_##SIZE("k16.f32.bf16.bf16", ", 0, 0"); \
  if constexpr (N == SIZE && dtype == INGOT_F16) INGOT_WGMMA_##SIZE("k16.f32.f16.f16", ", 0, 0");    \
  if constexpr (N == SIZE && dtype == INGOT_F8E4M3) INGOT_WGMMA_##SIZE("k32.f32.e4m3.e4m3", "")
  INGOT_WGMMA(8);
  INGOT_WGMMA(16);
  INGOT_WGMMA(32);
  INGOT_WGMMA(64);
  INGOT_WGMMA(128);
#undef INGOT_WGMMA
#endif
}

#undef INGOT_WGMMA_8
#undef INGOT_WGMMA_16
#undef INGOT_WGMMA_32
#undef INGOT_WGMMA_64
#undef INGOT_WGMMA_128

}  // namespace ingot
