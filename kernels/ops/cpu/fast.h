// The fast CPU kernels compiled for this architecture, best first. An op's row lists them before "naive".
#pragma once
#include <span>

#include "ingot_op.h"

namespace ingot {

std::span<const IngotKernel> linear_kernels();
std::span<const IngotKernel> scaled_linear_kernels();
std::span<const IngotKernel> grouped_linear_kernels();
std::span<const IngotKernel> paged_attention_kernels();

}  // namespace ingot
