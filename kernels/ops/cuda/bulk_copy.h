// Copies into shared memory by the copy engine, and the barriers that tell of them, from sm_90 on: PTX ISA,
// "mbarrier" and "cp.async.bulk".
#pragma once
#include <cstdint>

namespace ingot {

__device__ inline uint32_t shared_address(const void *shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// One thread makes barriers; before a __syncthreads() that the others pass it calls barriers_made().
__device__ inline void make_barrier([[maybe_unused]] uint64_t *barrier, [[maybe_unused]] uint32_t arrivals) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#endif
}

__device__ inline void barriers_made() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
#endif
}

// Returns when the phase of that parity is over.
__device__ inline void wait_for([[maybe_unused]] uint64_t *barrier, [[maybe_unused]] uint32_t parity) {
#if __CUDA_ARCH__ >= 900
  uint32_t done = 0;
  while (!done) {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
  }
#endif
}

__device__ inline void arrive_at([[maybe_unused]] uint64_t *barrier) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#endif
}

// Arrives; the phase also waits for so many bytes of copies.
__device__ inline void expect_bytes([[maybe_unused]] uint64_t *barrier, [[maybe_unused]] uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
#endif
}

// Addresses and the number of bytes are multiples of 16. What is copied leaves the L2 cache first.
__device__ inline void copy_once([[maybe_unused]] void *to, [[maybe_unused]] const void *from,
                                 [[maybe_unused]] uint32_t bytes, [[maybe_unused]] uint64_t *barrier) {
#if __CUDA_ARCH__ >= 900
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
#endif
}

}  // namespace ingot
