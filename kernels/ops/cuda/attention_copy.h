// Copies of 16 bytes into shared memory that run beside the computing, and loads of 8x8 pieces of it for mma.sync: PTX
// ISA, "cp.async" and "ldmatrix"; from sm_80 on.
#pragma once
#include <cstdint>

#include "ops/cuda/bulk_copy.h"

namespace ingot {

// Zeros where `there` is false; nothing is read then.
__device__ inline void copy_sixteen(void *to, const void *from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Returns when this thread's copies have come; those of others are seen after a barrier.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

// Four pieces; lane 8m+r names row r of piece m. Lane 4g+t gets elements 2t and 2t+1 of row g of each.
__device__ inline void load_pieces(uint32_t (&to)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
// The same of the transposed pieces.
__device__ inline void load_transposed(uint32_t (&to)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

}  // namespace ingot
