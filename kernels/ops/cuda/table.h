// The kernels for CUDA, family by family; table.cc lists them, nothing registers itself. Their rows are in ops/rows.h.
#pragma once
#include <span>

#include "ingot_device.h"

namespace ingot {

// All of them, in the order in which they are tried; it lives as long as the library.
std::span<const IngotOpKernels> cuda_kernels();

std::span<const IngotOpKernels> norm_kernels();             // RMSNormalization, AddRmsNorm, with codes or without
std::span<const IngotOpKernels> layer_norm_kernels();       // LayerNormalization
std::span<const IngotOpKernels> quantize_kernels();         // QuantizeToken, TokenLargest
std::span<const IngotOpKernels> gate_kernels();             // Gate, GateQuantize
std::span<const IngotOpKernels> rotate_kernels();           // Rotate
std::span<const IngotOpKernels> gather_kernels();           // Gather
std::span<const IngotOpKernels> part_kernels();             // Split, Concat
std::span<const IngotOpKernels> copy_kernels();             // Slice, Transpose, Expand, Tile, Reshape, …
std::span<const IngotOpKernels> cast_kernels();             // Cast, CastLike
std::span<const IngotOpKernels> elementwise_kernels();      // Add, Where, Sigmoid, …
std::span<const IngotOpKernels> quantize_linear_kernels();  // QuantizeLinear, DequantizeLinear
std::span<const IngotOpKernels> attention_tile_kernels();   // PagedAttention, where a sequence has several tokens
std::span<const IngotOpKernels> attention_row_kernels();    // PagedAttention
std::span<const IngotOpKernels> flash_attention_kernels();  // PagedAttention, RotaryPagedAttention
std::span<const IngotOpKernels> product_kernels();          // Linear, ScaledLinear, GroupedLinear

}  // namespace ingot
