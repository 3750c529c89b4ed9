// The few functions, types and numbers of cuBLASLt that we use, declared here because the library is found at run time:
// NVIDIA cuBLAS documentation, "Using the cuBLASLt API"; numbers as in cublasLt.h 13.0, which keeps those of 12.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace ingot {

struct CublasLtAlgorithm {  // cublasLtMatmulAlgo_t
  uint64_t data[8];
};

struct CublasLtHeuristic {  // cublasLtMatmulHeuristicResult_t
  CublasLtAlgorithm algorithm;
  size_t workspace_bytes;
  int32_t status;
  float waves;
  int32_t reserved[4];
};

enum CublasLtNumber : int32_t {
  // cublasComputeType_t, cublasOperation_t
  cublas_compute_32f = 68,
  cublas_compute_32i = 72,
  cublas_transpose = 1,
  // cublasLtMatmulDescAttributes_t
  cublaslt_transpose_a = 3,
  cublaslt_epilogue = 7,
  cublaslt_bias_pointer = 8,
  cublaslt_a_scale_pointer = 17,
  cublaslt_b_scale_pointer = 18,
  cublaslt_bias_type = 26,
  cublaslt_a_scale_mode = 31,
  cublaslt_b_scale_mode = 32,
  // cublasLtEpilogue_t, cublasLtMatmulMatrixScale_t
  cublaslt_epilogue_bias = 4,
  cublaslt_scale_outer_vector = 3,
  // cublasLtMatrixLayoutAttribute_t
  cublaslt_layout_columns = 3,
  // cublasLtMatmulPreferenceAttributes_t
  cublaslt_preference_workspace_bytes = 1,
  cublaslt_preference_reductions = 3,
  // cublasLtReductionScheme_t: parts of a sum are kept as float32
  cublaslt_reduction_compute_type = 2,
};

// Every function returns cublasStatus_t; 0 is success. Opaque handles are void *.
struct CublasLtApi {
  size_t (*version)();
  int (*create)(void **handle);
  int (*destroy)(void *handle);
  int (*matmul)(void *handle, void *description, const void *alpha, const void *a, void *a_layout, const void *b,
                void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                const CublasLtAlgorithm *algorithm, void *workspace, size_t workspace_bytes, cudaStream_t stream);
  int (*heuristics)(void *handle, void *description, void *a_layout, void *b_layout, void *c_layout, void *d_layout,
                    void *preference, int wanted, CublasLtHeuristic *found, int *n_found);
  int (*check)(void *handle, void *description, void *a_layout, void *b_layout, void *c_layout, void *d_layout,
               const CublasLtAlgorithm *algorithm, CublasLtHeuristic *found);
  int (*create_description)(void **description, int compute, int scale_type);
  int (*destroy_description)(void *description);
  int (*set_description)(void *description, int attribute, const void *value, size_t bytes);
  int (*create_layout)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride);
  int (*destroy_layout)(void *layout);
  int (*set_layout)(void *layout, int attribute, const void *value, size_t bytes);
  int (*create_preference)(void **preference);
  int (*destroy_preference)(void *preference);
  int (*set_preference)(void *preference, int attribute, const void *value, size_t bytes);
};

}  // namespace ingot
