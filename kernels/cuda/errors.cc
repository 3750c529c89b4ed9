#include "cuda/errors.h"

#include <cstdarg>
#include <cstdio>

namespace ingot::cuda {
namespace {

// Whether the error comes from a kernel that ran earlier and ends the process's use of the GPU.
bool from_a_kernel(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
      return true;
    default:
      return false;
  }
}

}  // namespace

int report(const Device &device, cudaError_t error, const char *format, ...) {
  if (error == cudaSuccess) return 0;
  cudaGetLastError();  // so that the next launch is not blamed for it
  char what[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  const char *advice =
      from_a_kernel(error)
          ? "; an op that was launched before has failed, and this process cannot use the GPU any more: "
            "run it under compute-sanitizer to see which one"
          : "";
  return device.ctx->host->error(device.ctx, "GPU %d: %s: %s (%s)%s", device.ordinal, what, cudaGetErrorString(error),
                                 cudaGetErrorName(error), advice);
}

Size::Size(size_t bytes) {
  const double size = static_cast<double>(bytes);
  if (bytes >= size_t{1} << 30) {
    snprintf(text, sizeof text, "%.1f GiB", size / (1 << 30));
  } else if (bytes >= size_t{1} << 20) {
    snprintf(text, sizeof text, "%.1f MiB", size / (1 << 20));
  } else {
    snprintf(text, sizeof text, "%zu bytes", bytes);
  }
}

}  // namespace ingot::cuda
