// cuBLASLt, found where pip, the system or another library of this process put it.
#pragma once
#include <cuda_runtime_api.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "ops/cuda/cublaslt_api.h"
#include "ops/cuda/product.h"

namespace ingot {

// What a matrix product of cuBLASLt depends on besides pointers and the number of tokens.
struct CublasLtShape {
  int32_t F, D, weight_dtype, x_dtype, y_dtype, bias_dtype;  // bias_dtype 0: none; i8 codes: y is i32
  int32_t y_stride;                                          // numbers from one token's y to the next one's
  bool scaled;                                               // by a vector of rows and one of tokens
  auto operator<=>(const CublasLtShape &) const = default;
};

// One a device context: a handle, and what was asked of the heuristics before. Used by one thread.
class CublasLt {
 public:
  // NULL: not found, or not usable; why then says what was tried. The device must be current.
  static CublasLt *open(std::string *why);
  ~CublasLt();
  CublasLt(const CublasLt &) = delete;
  CublasLt &operator=(const CublasLt &) = delete;

  const std::string &path() const { return path_; }  // of the library
  size_t version() const { return version_; }        // 130002: 13.0.2

  // How many algorithms the heuristics propose for T tokens; at most 8.
  int32_t algorithms(const CublasLtShape &shape, int32_t T);

  struct Operands {
    const void *weight_FD, *x_TD, *bias_F;
    void *y_TF;
    const float *scale_F, *x_scale_T;  // both, if the shape is scaled
  };

  // Enqueues y = x weight^T, scaled and with bias as the shape says, by one of the algorithms that are proposed for
  // `tuned_T` tokens, or if that one does not take T, by the first proposed for T. Nonzero: a cublasStatus_t.
  int multiply(const CublasLtShape &shape, const Operands &operands, int32_t T, int32_t tuned_T, int32_t algorithm,
               void *workspace, size_t workspace_bytes, cudaStream_t stream);

  static constexpr size_t workspace_bytes = size_t{32} << 20;

 private:
  CublasLt() = default;

  // Descriptions made once for a shape; the number of columns is set for each call.
  struct Problem {
    void *description, *a, *b, *d;
    std::map<int32_t, std::vector<CublasLtHeuristic>> proposed;  // by T
    std::map<std::tuple<int32_t, int32_t, int32_t>, bool> fits;  // T, tuned T, algorithm
  };

  Problem *problem(const CublasLtShape &shape);
  const std::vector<CublasLtHeuristic> &proposed(Problem &problem, int32_t T);
  void set_columns(Problem &problem, int32_t T) const;

  CublasLtApi api_{};
  void *library_ = nullptr, *handle_ = nullptr, *preference_ = nullptr;
  std::string path_;
  size_t version_ = 0;
  std::map<CublasLtShape, Problem> problems_;
};

}  // namespace ingot
