// One open GPU: what `self` of ingot_device.h points to.
#pragma once
#include <cuda_runtime_api.h>

#include <memory>

#include "ingot_device.h"
#include "ops/cuda/product_tuner.h"

namespace ingot::cuda {

class Staging;

struct Device {
  IngotCtx *ctx;
  int ordinal;  // as the CUDA runtime counts
  cudaStream_t stream, copy_stream;
  std::unique_ptr<Staging> staging;  // made by the first load
  std::unique_ptr<ProductTuner> products;

  Device(IngotCtx *ctx, int ordinal);
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
};

// The device, made the calling thread's current one.
Device &entered(void *self);

// `stream` of a call, or the device's own.
inline cudaStream_t stream_of(const Device &device, void *stream) {
  return stream ? static_cast<cudaStream_t>(stream) : device.stream;
}

// memory.cc
int allocate(void *self, size_t bytes, void **memory);
void release(void *self, void *memory);
int allocate_pinned(void *self, size_t bytes, void **memory);
void release_pinned(void *self, void *memory);
int upload(void *self, void *to, const void *from, size_t bytes, void *stream);
int download(void *self, void *to, const void *from, size_t bytes, void *stream);
int copy(void *self, void *to, const void *from, size_t bytes, void *stream);
int fill(void *self, void *to, int32_t byte, size_t bytes, void *stream);

// load.cc
int load(void *self, void *to, const void *from, size_t bytes);

// stream.cc
int synchronize(void *self, void *stream);
int create_event(void *self, void **event);
void destroy_event(void *self, void *event);
int record(void *self, void *event, void *stream);
int wait_for(void *self, void *event);
int let_wait(void *self, void *event, void *stream);
int elapsed(void *self, void *begin, void *end, double *seconds);
int health(void *self);
int capture_begin(void *self);
int capture_end(void *self, void **graph);
int launch(void *self, void *graph);
void destroy_graph(void *self, void *graph);

// step.cu, sampler.cu, random.cu
int begin_step(void *self, const IngotBeginStep *step);
size_t sample_workspace(int32_t max_sequences, int64_t vocab);
int end_step(void *self, const IngotEndStep *step);
int random(void *self, const IngotRandomRows *parts, int32_t n_parts, int32_t dtype, void *to);
int random_codes(void *self, const IngotRandomRows *parts, int32_t n_parts, const IngotRandomCodes *how, void *to);

// read_rate.cu
int read_rate(void *self, double seconds, double *bytes_per_second);

}  // namespace ingot::cuda
