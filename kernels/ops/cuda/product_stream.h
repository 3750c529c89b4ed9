// Products for few tokens: weights stream from memory through registers into the tensor cores. Weights stand on the
// side of the sixteen rows of mma.sync, tokens on the side of its eight columns.
//
// One block of eight warps has 16 or 32 rows of weight. Its warps take chunks of 256 bytes of each row in turn, and
// their eight sums are added in the order of warps; so every output has one order of summation, whatever T and the
// tile. Weights are constants: the first ones are requested before the kernel waits for what came before it.
#pragma once
#include <cmath>

#include "ops/cuda/launch.h"
#include "ops/cuda/product_formats.h"
#include "ops/cuda/product_numbers.h"

namespace ingot {

// Weights are read once (evict first), or once for each tile of tokens (evict last).
__device__ inline uint64_t weight_policy(bool once) {
  uint64_t first, last;
  asm("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(first));
  asm("createpolicy.fractional.L2::evict_last.b64 %0;" : "=l"(last));
  return once ? first : last;
}

__device__ inline uint4 load_weights(const void *from, bool there, uint64_t policy) {
  uint4 to;
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
      "@p ld.global.nc.L1::no_allocate.L2::cache_hint.L2::256B.v4.b32 {%0,%1,%2,%3}, [%4], %6;\n}"
      : "=&r"(to.x), "=&r"(to.y), "=&r"(to.z), "=&r"(to.w)
      : "l"(from), "r"(static_cast<int>(there)), "l"(policy));
  return to;
}

__device__ inline uint4 load_x(const char *from, bool there) {
  return there ? *reinterpret_cast<const uint4 *>(from) : uint4{0, 0, 0, 0};
}

// A block of `warps` warps with 16 * row_tiles rows of weight and 8 * token_tiles tokens.
template <class Format, int warps, int token_tiles, int row_tiles>
class Stream {
 public:
  using Sum = typename Format::Mma::Sum;
  static constexpr int rows = 16 * row_tiles, tokens = 8 * token_tiles;

  __device__ Stream(const Product &product, int first_row, int first_token, bool once)
      : p_(product),
        warp_(static_cast<int>(threadIdx.x) / 32),
        g_(static_cast<int>(threadIdx.x) % 32 / 4),
        t_(static_cast<int>(threadIdx.x) % 4),
        first_token_(first_token),
        policy_(weight_policy(once)),
        row_bytes_(p_.D * 16 / codes),
        rows_left_(p_.F - first_row - g_),
        n_((((row_bytes_ + chunk - 1) / chunk - warp_ + warps - 1) / warps) * batches_in_chunk),
        weights_(static_cast<const char *>(p_.weight_FD) + (static_cast<int64_t>(first_row) + g_) * row_bytes_ +
                 16 * t_) {
    if constexpr (groups > 0) {
      by_group_ = 0xffffffffu / static_cast<uint32_t>(p_.D / p_.N) + 1;
      first_row_ = first_row;
    }
#pragma unroll
    for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
      for (int n = 0; n < token_tiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums_[m][n][i] = 0;
      }
    }
  }

  // All products of this warp, in sums_.
  __device__ void run() {
    Batch even, odd;
    load(0, even);
    load(1, odd);
    wait_for_previous();
    for (int i = 0; i < n_; i += 2) {
      multiply(i, even);
      load(i + 2, even);
      multiply(i + 1, odd);
      load(i + 3, odd);
    }
  }

  // Adds the warps' sums in their order and stores y; parts: warps * 16 * (rows + 4) sums of shared memory.
  __device__ void store(Sum *parts, int first_row) const {
    constexpr int stride = rows + 4;  // lanes of one warp write to different banks
#pragma unroll
    for (int pair = 0; pair < token_tiles; pair += 2) {
      if (pair) __syncthreads();
#pragma unroll
      for (int n = pair; n < pair + 2 && n < token_tiles; ++n) {
#pragma unroll
        for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int token = 8 * (n - pair) + 2 * t_ + i % 2, row = 16 * m + g_ + i / 2 * 8;
            parts[(warp_ * 16 + token) * stride + row] = sums_[m][n][i];
          }
        }
      }
      __syncthreads();
      constexpr int together = token_tiles > 1 ? 16 : 8;
      for (int i = static_cast<int>(threadIdx.x); i < together * rows; i += warps * 32) {
        const int token = i / rows, row = i % rows;
        const int t = first_token_ + 8 * pair + token, f = first_row + row;
        if (t >= p_.T || f >= p_.F) continue;
        Sum sum = parts[token * stride + row];
#pragma unroll
        for (int w = 1; w < warps; ++w) sum += parts[(w * 16 + token) * stride + row];
        store_product(p_, t, f, static_cast<float>(sum));
      }
    }
  }

 private:
  static constexpr int codes = Format::codes, x_vectors = Format::x_vectors, words = Format::words;
  static constexpr int chunk = 256, step = 64;  // bytes of a row: what a warp takes in turn; what four lanes load
  static constexpr int groups = Format::groups;
  static constexpr int steps = row_tiles == 1 && groups == 0 ? 4 : 2;  // of a batch
  static constexpr int batches_in_chunk = chunk / (steps * step);

  // What makes numbers of a lane's codes: the scales of all groups of the four lanes, the zero of its own.
  struct Grouping {
    float scales[groups > 0 ? groups : 1], zero;
  };
  struct Batch {
    uint4 weights[steps][row_tiles][2];
    Grouping grouping[groups > 0 ? steps : 1][row_tiles][2];
  };

  __device__ int offset(int batch) const {
    return (warp_ + batch / batches_in_chunk * warps) * chunk + batch % batches_in_chunk * (steps * step);
  }

  __device__ void load(int i, Batch &batch) const {
    const int begin = offset(i);
#pragma unroll
    for (int s = 0; s < steps; ++s) {
      const bool there = i < n_ && begin + s * step + 16 * t_ < row_bytes_;
#pragma unroll
      for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int row = 16 * m + 8 * h;
          batch.weights[s][m][h] = load_weights(weights_ + static_cast<int64_t>(row) * row_bytes_ + begin + s * step,
                                                there && row < rows_left_, policy_);
          if constexpr (groups > 0) load_grouping(begin + s * step, i < n_, row, batch.grouping[s][m][h]);
        }
      }
    }
  }

  __device__ void load_grouping(int at, bool there, int row, Grouping &grouping) const {
    const int first = at / 16 * codes;  // of the four lanes' codes in the row
    const int64_t begin = static_cast<int64_t>(first_row_ + g_ + row) * p_.N;
    there = there && row < rows_left_;
#pragma unroll
    for (int q = 0; q < groups; ++q) {
      const int code = first + q * (4 * codes / groups);
      const bool scaled = there && code < p_.D;
      grouping.scales[q] = scaled ? number_at(p_.group_scale_FN, p_.group_scale_dtype, begin + group_of(code)) : 0.0f;
    }
    const int code = first + t_ * codes;
    const bool shifted = there && code < p_.D && p_.zero_FN;
    grouping.zero = shifted ? static_cast<float>(p_.zero_FN[begin + group_of(code)]) : 0.0f;
  }

  // Exact as long as D times the size of a group is less than 2^32.
  __device__ int group_of(int code) const { return static_cast<int>(__umulhi(static_cast<uint32_t>(code), by_group_)); }

  // x of eight tokens for four lanes' weights of a step.
  __device__ void load_tokens(int at, int n, uint4 (&x)[x_vectors]) const {
    const int token = first_token_ + 8 * n + g_;
    const bool there = token < p_.T && at + 16 * t_ < row_bytes_;
    const char *from =
        static_cast<const char *>(p_.x_TD) + (static_cast<int64_t>(token) * row_bytes_ + at + 16 * t_) * x_vectors;
#pragma unroll
    for (int v = 0; v < x_vectors; ++v) x[v] = load_x(from + 16 * v, there);
  }

  __device__ void multiply(int i, const Batch &batch) {
    if (i >= n_) return;
    constexpr int together = token_tiles * x_vectors * steps <= 8 ? steps : 1;  // x of so many steps is loaded at once
    const int begin = offset(i);
#pragma unroll
    for (int first = 0; first < steps; first += together) {
      uint4 x[together][token_tiles][x_vectors];
#pragma unroll
      for (int s = 0; s < together; ++s) {
#pragma unroll
        for (int n = 0; n < token_tiles; ++n) load_tokens(begin + (first + s) * step, n, x[s][n]);
      }
#pragma unroll
      for (int s = 0; s < together; ++s) multiply_step(batch, first + s, x[s]);
    }
  }

  __device__ void multiply_step(const Batch &batch, int s, const uint4 (&x)[token_tiles][x_vectors]) {
    uint32_t a[row_tiles][2][words];
#pragma unroll
    for (int m = 0; m < row_tiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if constexpr (groups > 0) {
          Format::weights(batch.weights[s][m][h], batch.grouping[s][m][h].zero, p_.weight_dtype == INGOT_I4, a[m][h]);
        } else {
          Format::weights(batch.weights[s][m][h], a[m][h]);
        }
      }
    }
#pragma unroll
    for (int n = 0; n < token_tiles; ++n) {
      uint32_t b[words];
      Format::x(x[n], b);
#pragma unroll
      for (int m = 0; m < row_tiles; ++m) {
        if constexpr (groups == 0) {
          multiply_words(a[m], b, sums_[m][n]);
        } else {
          add_groups(a[m], b, batch.grouping[s][m], sums_[m][n]);
        }
      }
    }
  }

  static __device__ void multiply_words(const uint32_t (&a)[2][words], const uint32_t (&b)[words], Sum (&sums)[4]) {
#pragma unroll
    for (int i = 0; i < words; i += 2) {
      Format::Mma::multiply(sums, {a[0][i], a[1][i], a[0][i + 1], a[1][i + 1]}, b[i], b[i + 1]);
    }
  }

  // Group by group, with x of the lanes that hold codes of another group set to zero.
  __device__ void add_groups(const uint32_t (&a)[2][words], const uint32_t (&b)[words], const Grouping (&grouping)[2],
                             Sum (&sums)[4]) const {
#pragma unroll
    for (int q = 0; q < groups; ++q) {
      uint32_t of_group[words];
#pragma unroll
      for (int i = 0; i < words; ++i) of_group[i] = groups == 1 || t_ * groups / 4 == q ? b[i] : 0;
      Sum part[4] = {};
      multiply_words(a, of_group, part);
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[i] = fmaf(part[i], grouping[i / 2].scales[q], sums[i]);
    }
  }

  const Product &p_;
  const int warp_, g_, t_, first_token_;
  const uint64_t policy_;
  const int row_bytes_, rows_left_, n_;
  const char *weights_;    // this lane's first
  uint32_t by_group_ = 0;  // 2^32 over the size of a group
  int first_row_ = 0;
  Sum sums_[row_tiles][token_tiles][4];
};

template <class Format, int warps, int token_tiles, int row_tiles, int blocks>
__global__ void __launch_bounds__(warps * 32, blocks) stream(const Product product, int tiles) {
  using Kernel = Stream<Format, warps, token_tiles, row_tiles>;
  __shared__ typename Kernel::Sum parts[warps * 16 * (Kernel::rows + 4)];
  let_next_launch();
  // Blocks of the same rows follow each other, so that all but the first find their weights in the L2 cache.
  const int block = static_cast<int>(blockIdx.x), first_row = block / tiles * Kernel::rows;
  Kernel kernel(product, first_row, block % tiles * Kernel::tokens, tiles == 1);
  kernel.run();
  kernel.store(parts, first_row);
}

// blocks: of one multiprocessor.
template <class Format, int warps, int token_tiles, int row_tiles, int blocks>
cudaError_t launch_stream(const Product &p, cudaStream_t on) {
  using Kernel = Stream<Format, warps, token_tiles, row_tiles>;
  const int tiles = (p.T + Kernel::tokens - 1) / Kernel::tokens, row_blocks = (p.F + Kernel::rows - 1) / Kernel::rows;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(tiles) * static_cast<unsigned>(row_blocks));
  config.blockDim = dim3(warps * 32);
  config.stream = on;
  config.attrs = &early;
  config.numAttrs = p.sm >= 90 ? 1 : 0;
  return cudaLaunchKernelEx(&config, stream<Format, warps, token_tiles, row_tiles, blocks>, p, tiles);
}

}  // namespace ingot
