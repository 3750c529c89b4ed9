// What an engine offers to its kernels (IngotHost), and where it keeps it.
#pragma once
#include <string>

#include "ingot_op.h"
#include "ops/thread_pool.h"

namespace ingot {

// What the `owner` of a context given to kernels points to.
struct HostState {
  ThreadPool *pool = nullptr;  // NULL: everything runs in the caller
  std::string error;           // the last sentence that a kernel recorded
};

const IngotHost *host_services();

// A context of the CPU for kernels; `state` must outlive it.
IngotCtx host_context(HostState &state);

}  // namespace ingot
