#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <system_error>
#include <thread>

#include "cuda/device.h"
#include "cuda/errors.h"
#include "cuda/staging.h"

namespace ingot::cuda {

Staging::~Staging() {
  for (Lane &lane : lanes_) {
    for (int i = 0; i < 2; ++i) {
      if (lane.fetched[i]) cudaEventDestroy(lane.fetched[i]);
      if (lane.buffers[i]) cudaFreeHost(lane.buffers[i]);
    }
  }
}

cudaError_t Staging::open(int threads) {
  lanes_.resize(static_cast<size_t>(threads));
  for (Lane &lane : lanes_) {
    for (int i = 0; i < 2; ++i) {
      // Not write-combined: memcpy's ordinary stores fill it.
      if (auto error = cudaHostAlloc(&lane.buffers[i], chunk, cudaHostAllocPortable)) return error;
      if (auto error = cudaEventCreateWithFlags(&lane.fetched[i], cudaEventDisableTiming)) return error;
    }
  }
  return cudaSuccess;
}

cudaError_t Staging::load(int ordinal, cudaStream_t stream, void *to, const void *from, size_t bytes) {
  std::atomic<size_t> next{0};
  std::atomic<cudaError_t> failed{cudaSuccess};
  // Each lane takes the next chunk that nobody has; reading the file's pages and copying them is the slow part.
  const auto work = [&](Lane &lane) {
    cudaError_t error = cudaSetDevice(ordinal);
    for (int turn = 0; error == cudaSuccess && failed == cudaSuccess; turn ^= 1) {
      const size_t first = next.fetch_add(chunk);
      if (first >= bytes) return;
      const size_t size = std::min(chunk, bytes - first);
      error = cudaEventSynchronize(lane.fetched[turn]);  // passes at once if nothing was recorded
      if (error == cudaSuccess) {
        memcpy(lane.buffers[turn], static_cast<const char *>(from) + first, size);
        error =
            cudaMemcpyAsync(static_cast<char *>(to) + first, lane.buffers[turn], size, cudaMemcpyHostToDevice, stream);
      }
      if (error == cudaSuccess) error = cudaEventRecord(lane.fetched[turn], stream);
    }
    if (error != cudaSuccess) failed = error;
  };
  const size_t useful = std::clamp<size_t>(bytes / chunk, 1, lanes_.size());
  std::vector<std::thread> others;
  try {
    for (size_t i = 1; i < useful; ++i) others.emplace_back(work, std::ref(lanes_[i]));
  } catch (const std::system_error &) {
    // The system gives no more threads: those that there are do all of it.
  }
  work(lanes_[0]);
  for (std::thread &other : others) other.join();
  const cudaError_t error = cudaStreamSynchronize(stream);
  return failed != cudaSuccess ? failed.load() : error;
}

int load(void *self, void *to, const void *from, size_t bytes) {
  Device &device = entered(self);
  if (bytes == 0) return 0;
  if (!device.staging) {
    const unsigned cores = std::thread::hardware_concurrency();
    auto made = std::make_unique<Staging>();
    const cudaError_t error = made->open(static_cast<int>(std::clamp(cores, 1u, 8u)));
    if (int failed = report(device, error, "pinning memory to load weights through")) return failed;
    device.staging = std::move(made);
  }
  // What runs may still read what is overwritten.
  if (int failed = report(device, cudaStreamSynchronize(device.stream), "waiting for the GPU")) return failed;
  const cudaError_t error = device.staging->load(device.ordinal, device.copy_stream, to, from, bytes);
  return report(device, error, "loading %s", Size(bytes).text);
}

}  // namespace ingot::cuda
