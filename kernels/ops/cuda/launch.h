// How kernels are launched, one right behind the other: programmatic dependent launch (CUDA C++ Programming Guide,
// "Programmatic Dependent Launch and Synchronization"), from sm_90 on.
//
// The rule: every thread of a kernel calls wait_for_previous() before it reads what a kernel before it may have
// written, and before it writes what a kernel before it may still read, which is everything but constants. What it
// loads before are weights. Thereby a kernel ends after all that came before it, and so the next one, which waits for
// this one only, waits for them all: also where the kernels between are launched plainly, eagerly or in a graph.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "ingot_op.h"

namespace ingot {

// The blocks of the next kernel may take the room that this one leaves. They wait themselves.
__device__ inline void let_next_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns when the kernels before this one have ended and what they wrote can be read.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// 0, or nonzero after ctx->host->error: what `error` says of the kernel `name`.
inline int launched(IngotCtx *ctx, const char *name, cudaError_t error) {
  if (error == cudaSuccess) return 0;
  return ctx->host->error(ctx, "kernel %s could not be launched: %s", name, cudaGetErrorString(error));
}

// The same, of the launch before this call.
inline int launched(IngotCtx *ctx, const char *name) { return launched(ctx, name, cudaGetLastError()); }

struct Grid {
  dim3 blocks, threads;
  unsigned shared_bytes = 0;
};

// Launches kernel(arguments...) on the context's stream, programmatically dependent on what is there; no blocks:
// nothing is to be done.
template <class... Parameters, class... Arguments>
int launch(IngotCtx *ctx, const char *name, const Grid &grid, void (*kernel)(Parameters...), Arguments &&...arguments) {
  if (!grid.blocks.x || !grid.blocks.y || !grid.blocks.z) return 0;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = static_cast<cudaStream_t>(ctx->stream);
  config.attrs = &early;
  config.numAttrs = ctx->sm >= 90 ? 1 : 0;
  return launched(ctx, name, cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

}  // namespace ingot
