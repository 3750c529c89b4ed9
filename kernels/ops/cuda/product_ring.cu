// Products for few tokens, on sm_90: the sums of product_stream.h, bit for bit, with weights that the copy engine
// brings into a ring in shared memory.
//
// One block a multiprocessor has an even share of the rows of weight, 16 at a time, and leaves room for one block of
// the next kernel, which it lets come when it has asked for nearly all of its weights: so the next kernel's first
// weights are on their way while this one ends, and memory does not rest between two products.
#include <algorithm>
#include <cstdio>

#include "ops/cuda/bulk_copy.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/product_formats.h"
#include "ops/cuda/product_numbers.h"

namespace ingot {
namespace {

constexpr int warps = 8, tokens = 8, rows = 16;
constexpr int chunk = 256, step = 64;              // bytes of a row: what a warp takes in turn; what four lanes load
constexpr int chunks = 4, width = chunks * chunk;  // of a piece of a row
constexpr int pitch = width + 64;                  // lanes of one load have different banks
constexpr int stage_bytes = rows * pitch, stages = 6;
constexpr int summing = warps * 32, threads = summing + 32;  // the last warp asks for pieces

template <class Format>
class Ring {
 public:
  using Sum = typename Format::Mma::Sum;
  static constexpr int row_stride = rows + 4;  // lanes of one store have different banks
  static constexpr int parts = warps * tokens * row_stride;
  static constexpr int shared_bytes = stages * (stage_bytes + 16) + 2 * parts * 4;

  __device__ Ring(const Product &p, uint8_t *memory)
      : p_(p),
        memory_(memory),
        parts_(reinterpret_cast<Sum *>(memory + stages * stage_bytes)),
        full_(reinterpret_cast<uint64_t *>(memory + stages * stage_bytes + 2 * parts * 4)),
        empty_(full_ + stages),
        first_row_(row_of(static_cast<int>(blockIdx.x))),
        rows_(row_of(static_cast<int>(blockIdx.x) + 1) - first_row_),
        row_bytes_(p.D * 16 / Format::codes),
        pieces_((row_bytes_ + width - 1) / width) {}

  __device__ void prepare() const {
    if (threadIdx.x == 0) {
      for (int s = 0; s < stages; ++s) make_barrier(&full_[s], 1), make_barrier(&empty_[s], chunks);
      barriers_made();
    }
    __syncthreads();
  }

  // One warp asks for all pieces of this block, a lane for each row. The next kernel comes when no more than `ahead`
  // are still to be asked for.
  __device__ void fetch(int ahead) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int s = 0, left = (rows_ + rows - 1) / rows * pieces_;
    uint32_t parity = 1;  // of a phase before the first: a ring that is empty
    for (int tile = 0; tile * rows < rows_; ++tile) {
      const int there = min(rows, rows_ - tile * rows);
      const char *from = static_cast<const char *>(p_.weight_FD) +
                         static_cast<int64_t>(first_row_ + tile * rows + min(lane, there - 1)) * row_bytes_;
      for (int c = 0; c < pieces_; ++c) {
        const int bytes = min(width, row_bytes_ - c * width);
        if (left-- <= ahead) let_next_launch();
        wait_for(&empty_[s], parity);
        if (lane == 0) expect_bytes(&full_[s], static_cast<uint32_t>(bytes * there));
        __syncwarp();
        if (lane < there) {
          copy_once(memory_ + s * stage_bytes + lane * pitch, from + c * width, static_cast<uint32_t>(bytes),
                    &full_[s]);
        }
        if (++s == stages) s = 0, parity ^= 1;
      }
    }
  }

  // The other warps have each eighth chunk of a row, so that pieces go to four of them in turn.
  __device__ void sum_up() {
    const int warp = static_cast<int>(threadIdx.x) / 32, half = warp / chunks, place = warp % chunks * chunk;
    wait_for_previous();
    for (int tile = 0; tile * rows < rows_; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums_[i] = 0;
      for (int c = half; c < pieces_; c += warps / chunks) {
        const int i = tile * pieces_ + c, s = i % stages;
        uint4 x[chunk / step][Format::x_vectors];
        load_tokens(c * width + place, x);
        wait_for(&full_[s], static_cast<uint32_t>(i / stages & 1));
        multiply(memory_ + s * stage_bytes + place, c * width + place, x);
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive_at(&empty_[s]);
      }
      store(tile);
    }
  }

 private:
  __device__ int row_of(int block) const {
    return static_cast<int>(static_cast<int64_t>(p_.F) * block / static_cast<int>(gridDim.x));
  }

  static __device__ int group() { return static_cast<int>(threadIdx.x) % 32 / 4; }
  static __device__ int member() { return static_cast<int>(threadIdx.x) % 4; }

  // x of this lane's token, from the place in a row of weights on.
  __device__ void load_tokens(int place, uint4 (&x)[chunk / step][Format::x_vectors]) const {
    const int at = place + 16 * member();
    const char *from =
        static_cast<const char *>(p_.x_TD) + (static_cast<int64_t>(group()) * row_bytes_ + at) * Format::x_vectors;
#pragma unroll
    for (int k = 0; k < chunk / step; ++k) {
      const bool there = group() < p_.T && at + k * step < row_bytes_;
#pragma unroll
      for (int v = 0; v < Format::x_vectors; ++v) {
        x[k][v] =
            there ? *reinterpret_cast<const uint4 *>(from + k * step * Format::x_vectors + 16 * v) : uint4{0, 0, 0, 0};
      }
    }
  }

  __device__ void multiply(const uint8_t *weights, int place, const uint4 (&x)[chunk / step][Format::x_vectors]) {
#pragma unroll
    for (int k = 0; k < chunk / step; ++k) {
      const int at = k * step + 16 * member();
      const bool there = place + at < row_bytes_;  // what lies beyond is nobody's
      uint32_t a[2][Format::words], b[Format::words];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint4 raw = *reinterpret_cast<const uint4 *>(weights + (group() + 8 * h) * pitch + at);
        Format::weights(there ? raw : uint4{0, 0, 0, 0}, a[h]);
      }
      Format::x(x[k], b);
#pragma unroll
      for (int i = 0; i < Format::words; i += 2) {
        Format::Mma::multiply(sums_, {a[0][i], a[1][i], a[0][i + 1], a[1][i + 1]}, b[i], b[i + 1]);
      }
    }
  }

  // Adds the warps' sums in their order. Two buffers take turns, so that one barrier a tile is enough.
  __device__ void store(int tile) const {
    Sum *of_tile = parts_ + tile % 2 * parts;
    const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 2 * member() + i % 2, row = group() + i / 2 * 8;
      of_tile[(warp * tokens + token) * row_stride + row] = sums_[i];
    }
    asm volatile("bar.sync 1, %0;" ::"n"(summing) : "memory");
    if (static_cast<int>(threadIdx.x) / (tokens * rows) != tile % 2) return;
    const int token = static_cast<int>(threadIdx.x) / rows % tokens, row = static_cast<int>(threadIdx.x) % rows;
    if (token >= p_.T || tile * rows + row >= rows_) return;
    Sum sum = of_tile[token * row_stride + row];
#pragma unroll
    for (int w = 1; w < warps; ++w) sum += of_tile[(w * tokens + token) * row_stride + row];
    store_product(p_, token, first_row_ + tile * rows + row, static_cast<float>(sum));
  }

  const Product &p_;
  uint8_t *const memory_;
  Sum *const parts_;  // two times
  uint64_t *const full_, *const empty_;
  const int first_row_, rows_, row_bytes_, pieces_;
  Sum sums_[4];
};

template <class Format>
__global__ void __launch_bounds__(threads, 2) ring(const Product product, int ahead) {
  extern __shared__ __align__(128) uint8_t memory[];
  if (ahead == at_once) let_next_launch();
  Ring<Format> work(product, memory);
  work.prepare();
  if (threadIdx.x < summing) {
    work.sum_up();
  } else {
    work.fetch(ahead);
  }
}

template <class Format>
cudaError_t launch_ring(const Product &p, int ahead, cudaStream_t on) {
  constexpr int bytes = Ring<Format>::shared_bytes;
  cudaError_t error = cudaFuncSetAttribute(ring<Format>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  error = cudaFuncSetAttribute(ring<Format>, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min(p.sm_count, p.F)));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = on;
  config.attrs = &early;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, ring<Format>, p, ahead);
}

}  // namespace

bool takes_ring_product(const Product &p, char *why, size_t n) {
  if (p.sm == 90 && p.sm_count > 0) return takes_stream_product(p, why, n);
  snprintf(why, n, "this GPU has no engine for bulk copies");
  return false;
}

cudaError_t launch_ring_product(const Product &product, int32_t variant, cudaStream_t on) {
  const int ahead = variant == 0 ? 2 : variant == 1 ? at_once : stages;
  Product p = product;
  cudaError_t status = cudaErrorInvalidValue;
  with_format(p.x_dtype, p.weight_dtype, [&](auto format) {
    using Format = decltype(format);
    const int64_t x_bytes = int64_t{p.D} * 16 / Format::codes * Format::x_vectors;
    const int64_t y_bytes = int64_t{p.F} * (p.y_dtype == INGOT_F32 ? 4 : 2);
    status = cudaSuccess;
    for (int32_t t = 0; t < product.T && status == cudaSuccess; t += tokens) {
      p.T = std::min(product.T - t, tokens);
      p.x_TD = static_cast<const char *>(product.x_TD) + t * x_bytes;
      p.y_TF = static_cast<char *>(product.y_TF) + t * y_bytes;
      if (product.x_scale_T) p.x_scale_T = product.x_scale_T + t;
      status = launch_ring<Format>(p, ahead, on);
    }
  });
  return status;
}

}  // namespace ingot
