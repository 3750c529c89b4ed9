// Products for up to 128 tokens. Weights stand on the side of the 64 rows of wgmma, tokens on the side of its columns.
//
// One block a multiprocessor has an even share of all (tile of 128 rows, 128 bytes of each) pieces, in order, so a tile
// may be shared by several blocks. Its first block sums it up: the others hand their sums over through memory, with a
// flag. A ring in shared memory holds pieces of weights and of x that the copy engine brings; weights, which are
// constants, are asked for before the kernel waits for what came before it.
#include <algorithm>
#include <cstdio>

#include "ops/cuda/launch.h"
#include "ops/cuda/product_numbers.h"
#include "ops/cuda/product_tile.h"
#include "ops/cuda/wgmma.h"

namespace ingot {
namespace tiles {

constexpr int rows = 128, row_bytes = 128, weight_bytes = rows * row_bytes;  // of a piece
constexpr int summing = 256, threads = summing + 32;                         // the last warp asks for pieces
constexpr int most_stages = 12;

struct Share {
  float *partials;  // summing * N / 2 of each block
  int32_t *flags;
  int32_t stages, pieces;  // of a row of tiles
  int64_t total;
};

__device__ inline uint32_t address_of(const void *shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

__device__ inline void wait(uint64_t *barrier, uint32_t parity) {
  uint32_t done = 0;
  while (!done) {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(address_of(barrier)), "r"(parity)
                 : "memory");
  }
}

__device__ inline void arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address_of(barrier)) : "memory");
}

__device__ inline void expect(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address_of(barrier)), "r"(bytes)
               : "memory");
}

__device__ inline void copy(uint8_t *to, const CUtensorMap &map, int column, int row, uint64_t *barrier,
                            uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, "
      "%3}], "
      "[%4], %5;" ::"r"(address_of(to)),
      "l"(&map), "r"(column), "r"(row), "r"(address_of(barrier)), "l"(policy)
      : "memory");
}

__device__ inline void meet() { asm volatile("bar.sync 1, %0;" ::"n"(summing) : "memory"); }

template <int dtype, int N>
class Tile {
 public:
  static constexpr int stage_bytes = weight_bytes + N * row_bytes, columns = dtype == INGOT_F8E4M3 ? 128 : 64;

  __device__ Tile(const Product &p, const Share &share, uint8_t *memory)
      : p_(p),
        share_(share),
        memory_(memory),
        full_(reinterpret_cast<uint64_t *>(memory + share.stages * stage_bytes)),
        empty_(full_ + share.stages),
        begin_(first_piece(static_cast<int>(blockIdx.x))),
        end_(first_piece(static_cast<int>(blockIdx.x) + 1)) {}

  __device__ void prepare() const {
    if (threadIdx.x == 0) {
      for (int s = 0; s < share_.stages; ++s) {
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address_of(&full_[s])) : "memory");
        asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address_of(&empty_[s])), "n"(summing / 32)
                     : "memory");
      }
      asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory");
    }
    __syncthreads();
  }

  // One thread asks for all pieces of this block.
  __device__ void fetch(const CUtensorMap &weights, const CUtensorMap &x) const {
    uint64_t once, often;
    asm("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(once));
    asm("createpolicy.fractional.L2::evict_last.b64 %0;" : "=l"(often));
    const auto fetch_weights = [&](int64_t piece, int s) {
      expect(&full_[s], stage_bytes);
      copy(memory_ + s * stage_bytes, weights, static_cast<int>(piece % share_.pieces) * columns,
           static_cast<int>(piece / share_.pieces) * rows, &full_[s], once);
    };
    const auto fetch_x = [&](int64_t piece, int s) {
      copy(memory_ + s * stage_bytes + weight_bytes, x, static_cast<int>(piece % share_.pieces) * columns, 0, &full_[s],
           often);
    };
    const int64_t count = end_ - begin_, filled = min(count, static_cast<int64_t>(share_.stages));
    for (int i = 0; i < filled; ++i) fetch_weights(begin_ + i, i);
    wait_for_previous();
    for (int i = 0; i < filled; ++i) fetch_x(begin_ + i, i);
    int s = 0;
    uint32_t parity = 0;
    for (int64_t i = filled; i < count; ++i) {
      wait(&empty_[s], parity);
      fetch_weights(begin_ + i, s);
      fetch_x(begin_ + i, s);
      if (++s == share_.stages) s = 0, parity ^= 1;
    }
  }

  // Eight warps sum up; each four of them have 64 rows.
  __device__ void sum_up() {
    wait_for_previous();
    for (int64_t piece = begin_; piece < end_;) {
      const int64_t tile = piece / share_.pieces, tile_begin = tile * share_.pieces;
      const int64_t tile_end = tile_begin + share_.pieces, end = min(end_, tile_end);
      const bool is_first = piece == tile_begin;
#pragma unroll
      for (int i = 0; i < N / 2; ++i) sums_[i] = 0;
      for (; piece < end; ++piece) multiply();
      if (!is_first) {
        hand_over();
        continue;
      }
      if (end < tile_end) take_over(tile_end);
      store(static_cast<int>(tile) * rows);
    }
  }

 private:
  __device__ int64_t first_piece(int block) const { return share_.total * block / static_cast<int>(gridDim.x); }

  __device__ void multiply() {
    const uint8_t *stage = memory_ + s_ * stage_bytes;
    const uint64_t a = wgmma_operand(address_of(stage + threadIdx.x / 128 * (weight_bytes / 2)));
    const uint64_t b = wgmma_operand(address_of(stage + weight_bytes));
    wait(&full_[s_], parity_);
    if constexpr (dtype == INGOT_F8E4M3) {
      // Its sums keep fewer bits than float32 has, so they stay short: 128 products.
      float part[N / 2];
#pragma unroll
      for (int i = 0; i < N / 2; ++i) part[i] = 0;
      wgmma_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k) wgmma<dtype, N>(part, a + 2 * k, b + 2 * k, k > 0);
      wgmma_end();
#pragma unroll
      for (int i = 0; i < N / 2; ++i) sums_[i] += part[i];
    } else {
      wgmma_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k) wgmma<dtype, N>(sums_, a + 2 * k, b + 2 * k, true);
      wgmma_end();
    }
    if (threadIdx.x % 32 == 0) arrive(&empty_[s_]);
    if (++s_ == share_.stages) s_ = 0, parity_ ^= 1;
  }

  __device__ float *partial(int block) const {
    return share_.partials + static_cast<int64_t>(block) * summing * (N / 2) + threadIdx.x;
  }

  // This block's sums of a tile that an earlier block sums up.
  __device__ void hand_over() const {
    float *to = partial(static_cast<int>(blockIdx.x));
#pragma unroll
    for (int i = 0; i < N / 2; ++i) __stcg(to + i * summing, sums_[i]);
    __threadfence();
    meet();
    if (threadIdx.x == 0) {
      asm volatile("st.release.gpu.global.s32 [%0], 1;" ::"l"(share_.flags + blockIdx.x) : "memory");
    }
  }

  // Adds what the following blocks have of this tile, in their order.
  __device__ void take_over(int64_t tile_end) {
    for (int block = static_cast<int>(blockIdx.x) + 1;; ++block) {
      if (threadIdx.x == 0) {
        int32_t there = 0;
        while (!there) {
          asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(there) : "l"(share_.flags + block) : "memory");
        }
        share_.flags[block] = 0;
      }
      meet();
      const float *from = partial(block);
#pragma unroll
      for (int i = 0; i < N / 2; ++i) sums_[i] += __ldcg(from + i * summing);
      if (first_piece(block + 1) >= tile_end) return;
    }
  }

  __device__ void store(int first_row) const {
    const int warp = static_cast<int>(threadIdx.x) / 32, g = static_cast<int>(threadIdx.x) % 32 / 4;
    const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const int row = first_row + 16 * warp + g + i / 2 % 2 * 8, token = i / 4 * 8 + 2 * t + i % 2;
      if (row < p_.F && token < p_.T) store_product(p_, token, row, sums_[i]);
    }
  }

  const Product &p_;
  const Share &share_;
  uint8_t *const memory_;
  uint64_t *const full_, *const empty_;
  const int64_t begin_, end_;
  int s_ = 0;
  uint32_t parity_ = 0;
  float sums_[N / 2];
};

template <int dtype, int N>
__global__ void __launch_bounds__(threads, N > 64 ? 1 : 2)
    tile([[maybe_unused]] const Product product, [[maybe_unused]] const __grid_constant__ CUtensorMap weights,
         [[maybe_unused]] const __grid_constant__ CUtensorMap x, [[maybe_unused]] const Share share) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) uint8_t memory[];
  let_next_launch();
  Tile<dtype, N> work(product, share, memory);
  work.prepare();
  if (threadIdx.x < summing) {
    work.sum_up();
  } else if (threadIdx.x == summing) {
    work.fetch(weights, x);
  }
#endif
}

}  // namespace tiles
}  // namespace ingot
