// The built-in op rows, family by family. ops/table.cc lists them; nothing registers itself.
#pragma once
#include <span>

#include "ingot_op.h"

namespace ingot {

// ops/ingot/: our own, domain "ingot"
std::span<const IngotOp> linear_rows();                  // Linear, ScaledLinear
std::span<const IngotOp> grouped_linear_rows();          // GroupedLinear
std::span<const IngotOp> quantize_rows();                // QuantizeToken, TokenLargest
std::span<const IngotOp> norm_rows();                    // AddRmsNorm, RmsNormQuantize, AddRmsNormQuantize
std::span<const IngotOp> gate_rows();                    // Gate, GateQuantize
std::span<const IngotOp> rotate_rows();                  // Rotate
std::span<const IngotOp> paged_attention_rows();         // PagedAttention
std::span<const IngotOp> rotary_paged_attention_rows();  // RotaryPagedAttention
std::span<const IngotOp> collective_rows();              // AllGather, AllReduce

// ops/standard/: ONNX's, domain ""
std::span<const IngotOp> standard_rows();

}  // namespace ingot
