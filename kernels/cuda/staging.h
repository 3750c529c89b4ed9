// Pinned buffers between a mapped file and the GPU.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

namespace ingot::cuda {

// Two buffers for each of a few threads: while the GPU fetches one, the thread fills the other.
class Staging {
 public:
  Staging() = default;
  ~Staging();
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;

  static constexpr size_t chunk = size_t{4} << 20;  // bytes of a buffer

  // Makes the buffers.
  cudaError_t open(int threads);

  // Copies `bytes` at `from` to `to` on the GPU `ordinal` through `stream`; done when it returns.
  cudaError_t load(int ordinal, cudaStream_t stream, void *to, const void *from, size_t bytes);

 private:
  struct Lane {
    void *buffers[2] = {};
    cudaEvent_t fetched[2] = {};  // recorded behind the copy out of that buffer
  };
  std::vector<Lane> lanes_;
};

}  // namespace ingot::cuda
