// The standard rows, a family a file. standard.cc lists them.
#pragma once
#include <span>

#include "ingot_op.h"

namespace ingot::standard {

std::span<const IngotOp> unary_rows();       // Neg, Exp, Sigmoid, Gelu, …
std::span<const IngotOp> binary_rows();      // Add, Pow, BitwiseAnd, …
std::span<const IngotOp> extreme_rows();     // Min, Max, Clip
std::span<const IngotOp> comparison_rows();  // Equal, Less, And, Where, …
std::span<const IngotOp> cast_rows();        // Cast, CastLike
std::span<const IngotOp> reshape_rows();     // Reshape, Squeeze, Unsqueeze, Flatten, Identity
std::span<const IngotOp> transpose_rows();   // Transpose, Expand, Tile
std::span<const IngotOp> slice_rows();       // Slice, Split
std::span<const IngotOp> concat_rows();      // Concat
std::span<const IngotOp> gather_rows();      // Gather, GatherElements, GatherND
std::span<const IngotOp> norm_rows();        // RMSNormalization, LayerNormalization

std::span<const IngotOp> reduce_rows();     // ReduceSum, ReduceMax, …
std::span<const IngotOp> softmax_rows();    // Softmax, LogSoftmax
std::span<const IngotOp> product_rows();    // MatMul, Gemm
std::span<const IngotOp> quantize_rows();   // QuantizeLinear, DequantizeLinear
std::span<const IngotOp> topk_rows();       // TopK, ArgMax
std::span<const IngotOp> pad_rows();        // Pad
std::span<const IngotOp> shape_rows();      // Shape, Size, Range, ConstantOfShape
std::span<const IngotOp> cumsum_rows();     // CumSum
std::span<const IngotOp> trilu_rows();      // Trilu
std::span<const IngotOp> scatter_rows();    // ScatterElements, ScatterND
std::span<const IngotOp> one_hot_rows();    // OneHot
std::span<const IngotOp> rotary_rows();     // RotaryEmbedding
std::span<const IngotOp> attention_rows();  // Attention

}  // namespace ingot::standard
