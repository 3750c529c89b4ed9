// Which ops the CUDA half has kernels for, known where it was not built: a build decides by this list.
#pragma once
#include <span>
#include <string_view>

namespace ingot {

struct CudaOp {
  const char *domain, *name;
  // Arguments of which it takes fewer types than the row: "x=f16|bf16 weight=f8e4m3"; "": all.
  const char *types;
};

std::span<const CudaOp> cuda_ops();

// NULL: it has no kernel for that op.
const CudaOp *find_cuda_op(std::string_view domain, std::string_view name);

}  // namespace ingot
