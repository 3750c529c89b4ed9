// read_rate of ingot_device.h: how fast this GPU streams its memory, the limit of every step that reads weights.
#include <algorithm>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/errors.h"

namespace ingot::cuda {
namespace {

constexpr size_t most = size_t{4} << 30, least = size_t{256} << 20;  // bytes: caches hold tens of MiB
constexpr int32_t threads = 512, ahead = 8;                          // loads of 16 bytes in flight in each thread
constexpr int32_t tile = threads * ahead;                            // 64 KiB

__global__ void __launch_bounds__(threads) read(const uint4 *data, int64_t tiles, uint32_t *seen) {
  uint32_t sum = 0;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    uint4 x[ahead];
    for (int32_t k = 0; k < ahead; ++k) x[k] = __ldcs(data + t * tile + k * threads + threadIdx.x);
    for (int32_t k = 0; k < ahead; ++k) sum |= x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
  }
  if (sum == 0x9E3779B9u) *seen = sum;  // so that no compiler leaves out a load
}

// What is allocated and created, released in any case.
struct Measurement {
  void *data = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;

  ~Measurement() {
    if (begin) cudaEventDestroy(begin);
    if (end) cudaEventDestroy(end);
    cudaFree(data);
    cudaGetLastError();
  }
};

cudaError_t measure(Device &device, double seconds, double *rate) {
  Measurement measurement;
  size_t free = 0, total = 0;
  cudaError_t error = cudaMemGetInfo(&free, &total);
  if (error != cudaSuccess) return error;
  const size_t bytes = std::clamp(free / 2, least, most) / (tile * sizeof(uint4)) * (tile * sizeof(uint4));
  if ((error = cudaMalloc(&measurement.data, bytes)) != cudaSuccess) return error;
  if ((error = cudaMemsetAsync(measurement.data, 1, bytes, device.stream)) != cudaSuccess) return error;
  if ((error = cudaEventCreate(&measurement.begin)) != cudaSuccess) return error;
  if ((error = cudaEventCreate(&measurement.end)) != cudaSuccess) return error;
  const auto tiles = static_cast<int64_t>(bytes / (tile * sizeof(uint4)));
  *rate = 0;
  double spent = 0;
  do {
    cudaEventRecord(measurement.begin, device.stream);
    read<<<static_cast<unsigned>(4 * device.ctx->sm_count), threads, 0, device.stream>>>(
        static_cast<const uint4 *>(measurement.data), tiles, static_cast<uint32_t *>(measurement.data));
    cudaEventRecord(measurement.end, device.stream);
    if ((error = cudaEventSynchronize(measurement.end)) != cudaSuccess) return error;
    float milliseconds = 0;
    if ((error = cudaEventElapsedTime(&milliseconds, measurement.begin, measurement.end)) != cudaSuccess) return error;
    *rate = std::max(*rate, static_cast<double>(bytes) / (1e-3 * static_cast<double>(milliseconds)));
    spent += 1e-3 * static_cast<double>(milliseconds);
  } while (spent < seconds);
  return cudaGetLastError();
}

}  // namespace

int read_rate(void *self, double seconds, double *bytes_per_second) {
  Device &device = entered(self);
  return report(device, measure(device, seconds, bytes_per_second), "measuring how fast it reads its memory");
}

}  // namespace ingot::cuda
