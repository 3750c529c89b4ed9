// One op by itself on an accelerator: what it computes, where it writes, how long it takes.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "ingot_device.h"
#include "single_op.h"

namespace ingot {

struct DeviceOpOptions {
  const IngotDeviceApi *device = nullptr;
  int32_t ordinal = 0;
  std::string kernel;  // "": the one an engine would take
  int32_t tactic = 0;
  int32_t repeat = 0;  // > 0: so many times are taken
};

struct DeviceOpResult {
  std::string kernel;
  int32_t tactics = 0;  // of the kernel, for these sizes
  double seconds = 0;   // of one call, the median
};

// Fills `outputs`, which lie on the host; one whose data is an input's is that input, changed in place. Before the op
// runs, other outputs and the workspace are full of NaNs, and behind and before every tensor lie bytes that it must
// leave alone. Times are those of a captured graph of many calls that go round several copies of all tensors, 256 MiB
// together where 64 copies suffice for that: more than the device's cache holds. Throws Error(INGOT_MACHINE) where
// there is no such device, Error(INGOT_INVALID) where no kernel takes the inputs, Error(INGOT_FAILED) when the kernel
// fails, changes an input, or writes outside its outputs.
DeviceOpResult run_on_device(SingleOp &single, const DeviceOpOptions &options, std::span<const IngotTensor> outputs);

}  // namespace ingot
