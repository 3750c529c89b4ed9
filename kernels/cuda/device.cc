#include "cuda/device.h"

#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include "cuda/errors.h"
#include "cuda/staging.h"
#include "cuda/usable.h"
#include "ops/cuda/table.h"

namespace ingot::cuda {

Device::Device(IngotCtx *ctx, int ordinal) : ctx(ctx), ordinal(ordinal), stream(nullptr), copy_stream(nullptr) {}

Device::~Device() {
  if (cudaSetDevice(ordinal) != cudaSuccess) cudaGetLastError();
  for (const cudaStream_t each : {stream, copy_stream}) {
    if (each) cudaStreamSynchronize(each);
  }
  staging.reset();
  products.reset();
  for (const cudaStream_t each : {stream, copy_stream}) {
    if (each) cudaStreamDestroy(each);
  }
  cudaGetLastError();
}

Device &entered(void *self) {
  Device &device = *static_cast<Device *>(self);
  cudaSetDevice(device.ordinal);  // a few nanoseconds where it is current already
  return device;
}

namespace {

int32_t count(char *why, size_t n) {
  std::string reason;
  const std::vector<int> found = usable(&reason);
  if (why && n) snprintf(why, n, "%s", found.empty() ? reason.c_str() : "");
  return static_cast<int32_t>(found.size());
}

int info(int32_t ordinal, IngotDeviceInfo *info, char *why, size_t n) {
  std::string reason;
  const std::vector<int> found = usable(&reason);
  if (ordinal < 0 || static_cast<size_t>(ordinal) >= found.size()) {
    snprintf(why, n, "there is no GPU %d that can be used, there are %zu%s%s", ordinal, found.size(),
             found.empty() ? ": " : "", found.empty() ? reason.c_str() : "");
    return 1;
  }
  const int device = found[static_cast<size_t>(ordinal)];
  *info = {};
  cudaDeviceProp properties;
  size_t free = 0, total = 0;
  cudaError_t error = cudaGetDeviceProperties(&properties, device);
  if (error == cudaSuccess) error = cudaSetDevice(device);
  if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  if (error == cudaSuccess) error = cudaDriverGetVersion(&info->driver);
  if (error == cudaSuccess) error = cudaRuntimeGetVersion(&info->runtime);
  if (error != cudaSuccess) {
    cudaGetLastError();
    snprintf(why, n, "GPU %d cannot be used: %s (%s)", device, cudaGetErrorString(error), cudaGetErrorName(error));
    return 1;
  }
  snprintf(info->name, sizeof info->name, "%.127s", properties.name);
  info->sm = 10 * properties.major + properties.minor;
  info->sm_count = properties.multiProcessorCount;
  info->memory_bytes = static_cast<int64_t>(total);
  info->free_bytes = static_cast<int64_t>(free);
  return 0;
}

int open(int32_t ordinal, IngotCtx *ctx, void **self) {
  *self = nullptr;
  IngotDeviceInfo found;
  char why[1024];
  if (info(ordinal, &found, why, sizeof why)) return ctx->host->error(ctx, "%s", why);
  std::string unused;
  auto device = std::unique_ptr<Device>(new (std::nothrow) Device(ctx, usable(&unused)[static_cast<size_t>(ordinal)]));
  if (!device) return ctx->host->error(ctx, "memory ran out");
  for (cudaStream_t *stream : {&device->stream, &device->copy_stream}) {
    const cudaError_t error = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
    if (int failed = report(*device, error, "making a stream")) return failed;
  }
  ctx->device = INGOT_CUDA;
  ctx->sm = found.sm;
  ctx->sm_count = found.sm_count;
  ctx->stream = device->stream;
  ctx->copy_stream = device->copy_stream;
  device->products = std::make_unique<ProductTuner>(&unused);
  ctx->blas = device->products.get();
  if (!device->products->cublaslt()) {
    ctx->host->log(ctx, 1, "products of many tokens will be slow: %s", unused.c_str());
  }
  *self = device.release();
  return 0;
}

void close(void *self) { delete static_cast<Device *>(self); }

const IngotOpKernels *kernels(int32_t *count) {
  const std::span<const IngotOpKernels> all = cuda_kernels();
  *count = static_cast<int32_t>(all.size());
  return all.data();
}

constexpr IngotDeviceApi api = {
    .size = sizeof(IngotDeviceApi),
    .abi = INGOT_DEVICE_ABI,
    .name = "cuda",
    .count = count,
    .info = info,
    .open = open,
    .close = close,
    .allocate = allocate,
    .release = release,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .upload = upload,
    .download = download,
    .copy = copy,
    .fill = fill,
    .load = load,
    .synchronize = synchronize,
    .create_event = create_event,
    .destroy_event = destroy_event,
    .record = record,
    .wait_for = wait_for,
    .let_wait = let_wait,
    .elapsed = elapsed,
    .health = health,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .launch = launch,
    .destroy_graph = destroy_graph,
    .kernels = kernels,
    .begin_step = begin_step,
    .sample_workspace = sample_workspace,
    .end_step = end_step,
    .random = random,
    .random_codes = random_codes,
    .read_rate = read_rate,
};

}  // namespace
}  // namespace ingot::cuda

extern "C" __attribute__((visibility("default"))) const IngotDeviceApi *ingot_device_v1(uint32_t runtime_abi) {
  return runtime_abi == INGOT_DEVICE_ABI ? &ingot::cuda::api : nullptr;
}
