// Products by cuBLASLt, for many tokens.
#include <cstdio>

#include "ops/cuda/cublaslt.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/product.h"

namespace ingot {
namespace {

// A scale of all rows becomes one of each, which is what cuBLASLt multiplies by beside scales of tokens.
__global__ void repeat_scale(const float *scale, float *scale_F, int F) {
  let_next_launch();
  wait_for_previous();
  const int f = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (f < F) scale_F[f] = *scale;
}

bool scaled(const Product &p) { return p.x_dtype == INGOT_F8E4M3; }

CublasLtShape shape_of(const Product &p) {
  return {p.F, p.D, p.weight_dtype, p.x_dtype, p.y_dtype, p.bias_dtype, p.F, scaled(p)};
}

size_t scale_bytes(int64_t F) { return (static_cast<size_t>(F) * sizeof(float) + 255) / 256 * 256; }

int refuse(char *why, size_t n, const char *reason) {
  snprintf(why, n, "%s", reason);
  return 0;
}

}  // namespace

bool takes_cublaslt_product(const Product &p, char *why, size_t n) {
  const bool floats = p.x_dtype == INGOT_F32 || p.x_dtype == INGOT_F16 || p.x_dtype == INGOT_BF16;
  if (p.N) return refuse(why, n, "it takes no groups");
  if (p.bias_dtype && p.bias_dtype != p.y_dtype) return refuse(why, n, "bias must be of the type of y");
  if (scaled(p)) {
    if (p.weight_dtype != INGOT_F8E4M3 || !p.x_scale_dtype || !p.scale_dtype) {
      return refuse(why, n, "f8e4m3 codes are multiplied with f8e4m3 codes and need a scale for each token");
    }
    if (p.y_dtype == INGOT_F32 && p.bias_dtype) return refuse(why, n, "with a bias, y of f8e4m3 codes is f16 or bf16");
    if (p.D % 16 || p.F % 16) return refuse(why, n, "F and D must be multiples of 16");
    return true;
  }
  if (!floats || p.x_dtype != p.weight_dtype) return refuse(why, n, "x and weight must be of one type");
  if (p.scale_dtype || p.x_scale_dtype) return refuse(why, n, "only f8e4m3 codes have scales");
  return true;
}

size_t cublaslt_workspace(int64_t F) { return scale_bytes(F) + CublasLt::workspace_bytes; }

int32_t cublaslt_algorithms(CublasLt &lt, const Product &p, int32_t T) { return lt.algorithms(shape_of(p), T); }

int launch_cublaslt_product(CublasLt &lt, const Product &p, int32_t tuned_T, int32_t algorithm, void *workspace,
                            size_t workspace_bytes, cudaStream_t stream) {
  CublasLt::Operands operands{p.weight_FD, p.x_TD, p.bias_F, p.y_TF, p.scale_F, p.x_scale_T};
  const size_t taken = scaled(p) && p.scale_step == 0 ? scale_bytes(p.F) : 0;
  if (workspace_bytes < taken) return -static_cast<int>(cudaErrorInvalidValue);
  if (taken) {
    auto *scale_F = static_cast<float *>(workspace);
    repeat_scale<<<(static_cast<unsigned>(p.F) + 255) / 256, 256, 0, stream>>>(p.scale_F, scale_F, p.F);
    if (const cudaError_t error = cudaGetLastError()) return -static_cast<int>(error);
    operands.scale_F = scale_F;
  }
  return lt.multiply(shape_of(p), operands, p.T, tuned_T, algorithm, static_cast<char *>(workspace) + taken,
                     workspace_bytes - taken, stream);
}

}  // namespace ingot
