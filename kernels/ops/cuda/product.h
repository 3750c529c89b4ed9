// A product of activations with constant weights on the device, as every kernel of Linear, ScaledLinear and
// GroupedLinear is given it.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "ingot_op.h"

namespace ingot {

// y = (x weight^T) x_scale scale + bias; with groups, weight = (codes - zero) group_scale.
struct Product {
  const void *x_TD, *weight_FD;
  void *y_TF;
  const void *bias_F;          // NULL: none
  const float *x_scale_T;      // NULL: 1
  const float *scale_F;        // NULL: 1
  const void *group_scale_FN;  // NULL: no groups
  const int8_t *zero_FN;       // NULL: 0
  int32_t T, F, D, N;
  int32_t x_dtype, weight_dtype, y_dtype, bias_dtype, x_scale_dtype, scale_dtype, group_scale_dtype;  // 0: absent
  int32_t sm;          // 90: kernels launch programmatically dependent
  int32_t sm_count;    // multiprocessors
  int32_t scale_step;  // 1: scale_F has one for each row of weight; 0: one for all
};

// Dot products in CUDA cores: takes everything, slowly.
cudaError_t launch_plain_product(const Product &product, cudaStream_t stream);

// The rules below read types and sizes only, so that they hold for a node before there are tensors.

// Streams weights through the tensor cores, a few rows of weight a block and up to 64 tokens at a time. What lacks is
// written to `why`. Sums have one order whatever T.
bool takes_stream_product(const Product &product, char *why, size_t n);
cudaError_t launch_stream_product(const Product &product, cudaStream_t stream);

// The same for codes in groups; one order of summation whatever T.
bool takes_grouped_product(const Product &product, char *why, size_t n);
cudaError_t launch_grouped_product(const Product &product, cudaStream_t stream);

class CublasLt;

// Products by cuBLASLt: floats of one type, and f8e4m3 with a scale for each token. algorithm: one of those that are
// proposed for tuned_T tokens. Returns 0 if the product is enqueued, else a cublasStatus_t, or minus a cudaError_t.
bool takes_cublaslt_product(const Product &product, char *why, size_t n);
int32_t cublaslt_algorithms(CublasLt &lt, const Product &product, int32_t T);
int launch_cublaslt_product(CublasLt &lt, const Product &product, int32_t tuned_T, int32_t algorithm, void *workspace,
                            size_t workspace_bytes, cudaStream_t stream);
size_t cublaslt_workspace(int64_t F);

// Products by cuBLASLt with own kernels around them, for many tokens: codes beside x of 16 bits, whose weights are
// unpacked, and codes on both sides, whose sums are scaled afterwards. Codes in groups become numbers of the type of x,
// which rounds them. algorithm and status are as above.
bool takes_staged_product(const Product &product, char *why, size_t n);
int32_t staged_algorithms(CublasLt &lt, const Product &product, int32_t T);
int launch_staged_product(CublasLt &lt, const Product &product, int32_t tuned_T, int32_t algorithm, void *workspace,
                          size_t workspace_bytes, cudaStream_t stream);
size_t staged_workspace(int64_t T, int64_t F, int64_t D, bool in_groups);

// Stands for the small kernels of a step where products are timed: reads y and writes x again as it is, launched as
// those are, so that the next product has to wait for this one.
cudaError_t launch_between_products(const Product &product, cudaStream_t stream);

}  // namespace ingot
