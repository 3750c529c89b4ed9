// The kernels for CUDA, family by family; table.cc lists them, nothing registers itself. Their rows are in ops/rows.h.
#pragma once
#include <span>

#include "ingot_device.h"

namespace ingot {

// All of them, in the order in which they are tried; it lives as long as the library.
std::span<const IngotOpKernels> cuda_kernels();

std::span<const IngotOpKernels> product_kernels();  // Linear, ScaledLinear, GroupedLinear

}  // namespace ingot
