// Products by cuBLASLt in stages: weights that it does not take are unpacked to 16 bits, sums that it cannot scale stay
// 32-bit numbers until a kernel of ours finishes them. Both a part at a time, so that the parts stay in the L2 cache
// and need little memory.
#include <algorithm>
#include <cstdio>

#include "ops/cuda/cublaslt.h"
#include "ops/cuda/product.h"
#include "ops/cuda/product_stages.h"

namespace ingot {
namespace {

constexpr int64_t part_bytes = 32 << 20;  // of unpacked weights, and of sums
constexpr int32_t row_step = 256, token_step = 128;

bool unpacks(const Product &p) { return p.x_dtype == INGOT_F16 || p.x_dtype == INGOT_BF16; }

struct Parts {
  int32_t rows, tokens, stride;  // of a part, however few there are; of a token's sums
  size_t weight_bytes, sum_bytes;
};

// As many as fit, rows in equal parts.
Parts parts_of(int64_t T, int64_t F, int64_t D, bool unpacked, bool summed) {
  constexpr int64_t longest = 32768;
  const int64_t fitting = unpacked ? std::max<int64_t>(row_step, part_bytes / (2 * D) / row_step * row_step) : longest;
  const int64_t n = (F + fitting - 1) / fitting, least = (F + n - 1) / n;
  const int64_t rows = std::min(F, (least + row_step - 1) / row_step * row_step), stride = (rows + 3) / 4 * 4;
  constexpr int64_t all = 1 << 30;
  const int64_t tokens =
      summed ? std::max<int64_t>(token_step, part_bytes / (4 * stride) / token_step * token_step) : all;
  const auto whole = [](int64_t bytes) { return static_cast<size_t>((bytes + 255) / 256 * 256); };
  return {static_cast<int32_t>(rows), static_cast<int32_t>(tokens), static_cast<int32_t>(stride),
          unpacked ? whole(rows * D * 2) : 0, summed ? whole(std::min(T, tokens) * stride * 4) : 0};
}

Parts parts_of(const Product &p) { return parts_of(p.T, p.F, p.D, unpacks(p), !p.N); }

CublasLtShape shape_of(const Product &p, const Parts &parts, int32_t rows) {
  const int32_t type = unpacks(p) ? p.x_dtype : p.weight_dtype;
  if (p.N) return {rows, p.D, type, type, p.y_dtype, p.bias_dtype, p.F, false};
  return {rows, p.D, type, type, type == INGOT_I8 ? INGOT_I32 : INGOT_F32, 0, parts.stride, false};
}

int refuse(char *why, size_t n, const char *reason) {
  snprintf(why, n, "%s", reason);
  return 0;
}

int64_t bytes_of(int32_t dtype) { return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1; }

}  // namespace

bool takes_staged_product(const Product &p, char *why, size_t n) {
  const bool eight_bits = p.weight_dtype == INGOT_F8E4M3 || p.weight_dtype == INGOT_I8;
  const bool codes = eight_bits || (p.N && (p.weight_dtype == INGOT_I4 || p.weight_dtype == INGOT_U4));
  if (!codes) return refuse(why, n, "weight must be codes of four or eight bits");
  if (unpacks(p)) {
    if (p.D % 16 || (p.N && p.D / p.N % 16)) return refuse(why, n, "D and groups must be multiples of 16");
    if (p.N && p.bias_dtype && p.bias_dtype != p.y_dtype) return refuse(why, n, "bias must be of the type of y");
    return true;
  }
  if (p.x_dtype != p.weight_dtype || p.N) return refuse(why, n, "x must be f16, bf16 or codes like those of weight");
  if (p.D % 16 || p.F % 16) return refuse(why, n, "F and D must be multiples of 16");
  return true;
}

size_t staged_workspace(int64_t T, int64_t F, int64_t D, bool in_groups) {
  const Parts unpacked = parts_of(T, F, D, true, !in_groups), whole = parts_of(T, F, D, false, !in_groups);
  return unpacked.weight_bytes + std::max(unpacked.sum_bytes, whole.sum_bytes) + CublasLt::workspace_bytes;
}

int32_t staged_algorithms(CublasLt &lt, const Product &p, int32_t T) {
  const Parts parts = parts_of(p);
  return lt.algorithms(shape_of(p, parts, parts.rows), std::min(T, parts.tokens));
}

int launch_staged_product(CublasLt &lt, const Product &p, int32_t tuned_T, int32_t algorithm, void *workspace,
                          size_t workspace_bytes, cudaStream_t stream) {
  const Parts parts = parts_of(p);
  const size_t taken = parts.weight_bytes + parts.sum_bytes;
  if (workspace_bytes < taken) return -static_cast<int>(cudaErrorInvalidValue);
  auto *unpacked = static_cast<char *>(workspace), *sums = unpacked + parts.weight_bytes,
       *rest = sums + parts.sum_bytes;
  const int64_t x_bytes = p.D * bytes_of(p.x_dtype), y_bytes = bytes_of(p.y_dtype);
  for (int32_t f = 0; f < p.F; f += parts.rows) {
    const int32_t rows = std::min(parts.rows, p.F - f);
    const void *weight_RD = static_cast<const char *>(p.weight_FD) + int64_t{f} * p.D;
    if (unpacks(p)) {
      if (const cudaError_t error = launch_unpack(p, f, rows, unpacked, stream)) return -static_cast<int>(error);
      weight_RD = unpacked;
    }
    for (int32_t t = 0; t < p.T; t += parts.tokens) {
      const int32_t tokens = std::min(parts.tokens, p.T - t);
      const void *bias = p.bias_F ? static_cast<const char *>(p.bias_F) + f * y_bytes : nullptr;
      void *y = static_cast<char *>(p.y_TF) + (int64_t{t} * p.F + f) * y_bytes;
      const CublasLt::Operands operands{
          weight_RD, static_cast<const char *>(p.x_TD) + t * x_bytes, p.N ? bias : nullptr, p.N ? y : sums, nullptr,
          nullptr};
      const int status = lt.multiply(shape_of(p, parts, rows), operands, tokens, std::min(tuned_T, parts.tokens),
                                     algorithm, rest, workspace_bytes - taken, stream);
      if (status) return status;
      if (p.N) continue;
      const SumsPlace place{t, tokens, f, rows, parts.stride};
      const int32_t type = p.x_dtype == INGOT_I8 ? INGOT_I32 : INGOT_F32;
      if (const cudaError_t error = launch_finish(p, place, sums, type, stream)) return -static_cast<int>(error);
    }
  }
  return 0;
}

}  // namespace ingot
