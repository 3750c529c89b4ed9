#include "ops/cuda_coverage.h"

namespace ingot {
namespace {

// The kernels themselves are listed in ops/cuda/table.cc; a test compares the two where both are there.
constexpr CudaOp ops[] = {
    {"", "Cast", ""},
    {"", "Gather", ""},
    {"", "RMSNormalization", ""},
    {"", "Split", ""},
    {"ingot", "AddRmsNorm", ""},
    {"ingot", "AddRmsNormQuantize", ""},
    {"ingot", "Gate", ""},
    {"ingot", "GateQuantize", ""},
    {"ingot", "GroupedLinear", ""},
    {"ingot", "Linear", ""},
    {"ingot", "PagedAttention", ""},
    {"ingot", "QuantizeToken", ""},
    {"ingot", "RmsNormQuantize", ""},
    {"ingot", "Rotate", ""},
    {"ingot", "ScaledLinear", ""},
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
