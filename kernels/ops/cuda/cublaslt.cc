#include "ops/cuda/cublaslt.h"

#include <dlfcn.h>
#include <library_types.h>

#include <cstring>
#include <memory>

#include "ops/cuda/cublaslt_library.h"

namespace ingot {
namespace {

int cuda_type(int32_t dtype) {
  switch (dtype) {
    case INGOT_F32:
      return CUDA_R_32F;
    case INGOT_F16:
      return CUDA_R_16F;
    case INGOT_BF16:
      return CUDA_R_16BF;
    case INGOT_F8E4M3:
      return CUDA_R_8F_E4M3;
    case INGOT_I8:
      return CUDA_R_8I;
    case INGOT_I32:
      return CUDA_R_32I;
    default:
      return -1;
  }
}

template <class F>
bool find(void *library, const char *name, F &function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

bool find_all(void *library, CublasLtApi &api) {
  return find(library, "cublasLtGetVersion", api.version) && find(library, "cublasLtCreate", api.create) &&
         find(library, "cublasLtDestroy", api.destroy) && find(library, "cublasLtMatmul", api.matmul) &&
         find(library, "cublasLtMatmulAlgoGetHeuristic", api.heuristics) &&
         find(library, "cublasLtMatmulAlgoCheck", api.check) &&
         find(library, "cublasLtMatmulDescCreate", api.create_description) &&
         find(library, "cublasLtMatmulDescDestroy", api.destroy_description) &&
         find(library, "cublasLtMatmulDescSetAttribute", api.set_description) &&
         find(library, "cublasLtMatrixLayoutCreate", api.create_layout) &&
         find(library, "cublasLtMatrixLayoutDestroy", api.destroy_layout) &&
         find(library, "cublasLtMatrixLayoutSetAttribute", api.set_layout) &&
         find(library, "cublasLtMatmulPreferenceCreate", api.create_preference) &&
         find(library, "cublasLtMatmulPreferenceDestroy", api.destroy_preference) &&
         find(library, "cublasLtMatmulPreferenceSetAttribute", api.set_preference);
}

}  // namespace

CublasLt *CublasLt::open(std::string *why) {
  std::unique_ptr<CublasLt> lt(new CublasLt);
  lt->library_ = open_cublaslt_library(&lt->path_, why);
  if (!lt->library_) return nullptr;
  if (!find_all(lt->library_, lt->api_)) {
    *why = lt->path_ + " lacks functions that cuBLASLt 12 and 13 have";
    return nullptr;
  }
  lt->version_ = lt->api_.version();
  int status = lt->api_.create(&lt->handle_);
  if (!status) status = lt->api_.create_preference(&lt->preference_);
  if (!status) {
    status = lt->api_.set_preference(lt->preference_, cublaslt_preference_workspace_bytes, &workspace_bytes,
                                     sizeof workspace_bytes);
  }
  if (!status) {
    // Where the sum over D is split, its parts would else be rounded to the type of y, in no fixed order.
    const uint32_t reductions = cublaslt_reduction_compute_type;
    status = lt->api_.set_preference(lt->preference_, cublaslt_preference_reductions, &reductions, sizeof reductions);
  }
  if (status) {
    *why = lt->path_ + ": cublasLtCreate returned status " + std::to_string(status);
    return nullptr;
  }
  return lt.release();
}

CublasLt::~CublasLt() {
  for (auto &[shape, problem] : problems_) {
    for (void *layout : {problem.a, problem.b, problem.d}) {
      if (layout) api_.destroy_layout(layout);
    }
    if (problem.description) api_.destroy_description(problem.description);
  }
  if (preference_) api_.destroy_preference(preference_);
  if (handle_) api_.destroy(handle_);  // the library stays: it has registered kernels with the driver
}

// cuBLASLt's matrices go down columns: y^T = weight x^T, where weight D by F is transposed, and x^T is D by T.
CublasLt::Problem *CublasLt::problem(const CublasLtShape &shape) {
  const auto known = problems_.find(shape);
  if (known != problems_.end()) return known->second.description ? &known->second : nullptr;
  Problem &made = problems_[shape];
  const auto D = static_cast<uint64_t>(shape.D), F = static_cast<uint64_t>(shape.F);
  void *description = nullptr;
  const bool integers = shape.x_dtype == INGOT_I8;
  bool good = !api_.create_description(&description, integers ? cublas_compute_32i : cublas_compute_32f,
                                       integers ? CUDA_R_32I : CUDA_R_32F) &&
              !api_.create_layout(&made.a, cuda_type(shape.weight_dtype), D, F, shape.D) &&
              !api_.create_layout(&made.b, cuda_type(shape.x_dtype), D, 1, shape.D) &&
              !api_.create_layout(&made.d, cuda_type(shape.y_dtype), F, 1, shape.y_stride);
  const auto set = [&](int attribute, int32_t value) {
    good = good && !api_.set_description(description, attribute, &value, sizeof value);
  };
  set(cublaslt_transpose_a, cublas_transpose);
  if (shape.bias_dtype) {
    set(cublaslt_epilogue, cublaslt_epilogue_bias);
    set(cublaslt_bias_type, cuda_type(shape.bias_dtype));
  }
  if (shape.scaled) {
    set(cublaslt_a_scale_mode, cublaslt_scale_outer_vector);
    set(cublaslt_b_scale_mode, cublaslt_scale_outer_vector);
  }
  if (good) {
    made.description = description;
    return &made;
  }
  if (description) api_.destroy_description(description);
  return nullptr;
}

void CublasLt::set_columns(Problem &problem, int32_t T) const {
  const auto columns = static_cast<uint64_t>(T);
  api_.set_layout(problem.b, cublaslt_layout_columns, &columns, sizeof columns);
  api_.set_layout(problem.d, cublaslt_layout_columns, &columns, sizeof columns);
}

const std::vector<CublasLtHeuristic> &CublasLt::proposed(Problem &problem, int32_t T) {
  const auto [place, is_new] = problem.proposed.try_emplace(T);
  if (!is_new) return place->second;
  CublasLtHeuristic found[8] = {};
  int n = 0;
  set_columns(problem, T);
  if (api_.heuristics(handle_, problem.description, problem.a, problem.b, problem.d, problem.d, preference_, 8, found,
                      &n)) {
    n = 0;
  }
  for (int i = 0; i < n; ++i) {
    if (!found[i].status && found[i].workspace_bytes <= workspace_bytes) place->second.push_back(found[i]);
  }
  return place->second;
}

int32_t CublasLt::algorithms(const CublasLtShape &shape, int32_t T) {
  Problem *problem = this->problem(shape);
  if (!problem) return 0;
  // The heuristics want to know that there are pointers; these are never read.
  static const float nothing = 0;
  const void *pointer = &nothing;
  if (shape.bias_dtype) api_.set_description(problem->description, cublaslt_bias_pointer, &pointer, sizeof pointer);
  if (shape.scaled) {
    api_.set_description(problem->description, cublaslt_a_scale_pointer, &pointer, sizeof pointer);
    api_.set_description(problem->description, cublaslt_b_scale_pointer, &pointer, sizeof pointer);
  }
  return static_cast<int32_t>(proposed(*problem, T).size());
}

int CublasLt::multiply(const CublasLtShape &shape, const Operands &operands, int32_t T, int32_t tuned_T,
                       int32_t algorithm, void *workspace, size_t bytes, cudaStream_t stream) {
  constexpr int not_supported = 15;
  Problem *problem = this->problem(shape);
  if (!problem) return not_supported;
  const auto set = [&](int attribute, const void *pointer) {
    api_.set_description(problem->description, attribute, &pointer, sizeof pointer);
  };
  if (shape.bias_dtype) set(cublaslt_bias_pointer, operands.bias_F);
  if (shape.scaled) {
    set(cublaslt_a_scale_pointer, operands.scale_F);
    set(cublaslt_b_scale_pointer, operands.x_scale_T);
  }
  const auto &tuned = proposed(*problem, tuned_T);
  const CublasLtHeuristic *chosen = nullptr;
  if (algorithm < static_cast<int32_t>(tuned.size())) {
    chosen = &tuned[static_cast<size_t>(algorithm)];
    if (T != tuned_T) {
      const auto [fits, is_new] = problem->fits.try_emplace({T, tuned_T, algorithm});
      if (is_new) {
        CublasLtHeuristic found{};
        set_columns(*problem, T);
        fits->second = !api_.check(handle_, problem->description, problem->a, problem->b, problem->d, problem->d,
                                   &chosen->algorithm, &found) &&
                       found.workspace_bytes <= bytes;
      }
      if (!fits->second) chosen = nullptr;
    }
  }
  if (!chosen) {
    const auto &others = proposed(*problem, T);
    if (others.empty()) return not_supported;
    chosen = &others[0];
  }
  if (chosen->workspace_bytes > bytes) return not_supported;
  set_columns(*problem, T);
  const float one = 1, zero = 0;  // zero has no bits, as an integer neither
  const int32_t integer_one = 1;
  const void *alpha = shape.x_dtype == INGOT_I8 ? static_cast<const void *>(&integer_one) : &one;
  return api_.matmul(handle_, problem->description, alpha, operands.weight_FD, problem->a, operands.x_TD, problem->b,
                     &zero, operands.y_TF, problem->d, operands.y_TF, problem->d, &chosen->algorithm, workspace, bytes,
                     stream);
}

}  // namespace ingot
