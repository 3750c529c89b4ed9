#include "ops/cuda_coverage.h"

namespace ingot {
namespace {

// The kernels themselves are listed in ops/cuda/table.cc; a test compares the two where both are there.
constexpr CudaOp ops[] = {
    {"", "Abs", ""},
    {"", "Add", ""},
    {"", "And", ""},
    {"", "BitShift", ""},
    {"", "BitwiseAnd", ""},
    {"", "BitwiseNot", ""},
    {"", "BitwiseOr", ""},
    {"", "BitwiseXor", ""},
    {"", "Cast", ""},
    {"", "CastLike", ""},
    {"", "Ceil", ""},
    {"", "Clip", ""},
    {"", "Concat", ""},
    {"", "Cos", ""},
    {"", "DequantizeLinear", ""},
    {"", "Div", ""},
    {"", "Equal", ""},
    {"", "Erf", ""},
    {"", "Exp", ""},
    {"", "Expand", ""},
    {"", "Flatten", ""},
    {"", "Floor", ""},
    {"", "Gather", ""},
    {"", "Gelu", ""},
    {"", "Greater", ""},
    {"", "GreaterOrEqual", ""},
    {"", "Identity", ""},
    {"", "IsNaN", ""},
    {"", "LayerNormalization", ""},
    {"", "LeakyRelu", ""},
    {"", "Less", ""},
    {"", "LessOrEqual", ""},
    {"", "Log", ""},
    {"", "Max", ""},
    {"", "Min", ""},
    {"", "Mod", ""},
    {"", "Mul", ""},
    {"", "Neg", ""},
    {"", "Not", ""},
    {"", "Or", ""},
    {"", "Pow", "X=f32|f16|bf16"},
    {"", "QuantizeLinear", ""},
    {"", "RMSNormalization", ""},
    {"", "Reciprocal", ""},
    {"", "Relu", ""},
    {"", "Reshape", ""},
    {"", "Round", ""},
    {"", "Sigmoid", ""},
    {"", "Sign", ""},
    {"", "Sin", ""},
    {"", "Slice", ""},
    {"", "Softplus", ""},
    {"", "Split", ""},
    {"", "Sqrt", ""},
    {"", "Squeeze", ""},
    {"", "Sub", ""},
    {"", "Swish", ""},
    {"", "Tanh", ""},
    {"", "Tile", ""},
    {"", "Transpose", "data=f32|u8|i8|i32|i64|bool|f16|bf16|f8e4m3|f8e5m2"},
    {"", "Unsqueeze", ""},
    {"", "Where", ""},
    {"", "Xor", ""},
    {"ingot", "AddRmsNorm", ""},
    {"ingot", "AddRmsNormQuantize", ""},
    {"ingot", "Gate", ""},
    {"ingot", "GateQuantize", ""},
    {"ingot", "GroupedLinear", ""},
    {"ingot", "Linear", ""},
    {"ingot", "PagedAttention", ""},
    {"ingot", "QuantizeToken", ""},
    {"ingot", "RmsNormQuantize", ""},
    {"ingot", "RotaryPagedAttention", ""},
    {"ingot", "Rotate", ""},
    {"ingot", "ScaledLinear", ""},
    {"ingot", "TokenLargest", ""},
};

}  // namespace

std::span<const CudaOp> cuda_ops() { return ops; }

const CudaOp *find_cuda_op(std::string_view domain, std::string_view name) {
  for (const CudaOp &op : ops) {
    if (op.domain == domain && op.name == name) return &op;
  }
  return nullptr;
}

}  // namespace ingot
