// QuantizeToken, and what it needs where several ranks have parts of a token: the rows and their definitions.
#include "ops/ingot/quantize_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

int infer(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const int64_t dtype = ctx->host->attr_int(node, "dtype");
  if (check_codes(dtype, ctx)) return 1;
  if (n_out != 2) return ctx->host->error(ctx, "%d outputs are asked for, not the 2 of codes and scale", n_out);
  describe(out[0], static_cast<int32_t>(dtype), {in[0].shape[0], in[0].shape[1]});
  describe(out[1], INGOT_F32, {in[0].shape[0]});
  return 0;
}

void quantize_part(void *arg, int64_t begin, int64_t end) {
  const IngotCall &call = *static_cast<const IngotCall *>(arg);
  const IngotTensor &x = call.in[0], &codes = call.out[0];
  const int64_t D = x.shape[1];
  const float *largest_T = call.n_in > 1 ? static_cast<const float *>(call.in[1].data) : nullptr;
  auto *scale_T = static_cast<float *>(call.out[1].data);
  for (int64_t t = begin; t < end; ++t) {
    const auto fill = [&](int64_t d, int64_t count, float *to) { read_floats(x.data, x.dtype, t * D + d, count, to); };
    scale_T[t] = quantize_row(fill, D, codes.dtype, static_cast<uint8_t *>(codes.data) + t * D,
                              largest_T ? largest_T + t : nullptr);
  }
}

void largest_part(void *arg, int64_t begin, int64_t end) {
  const IngotCall &call = *static_cast<const IngotCall *>(arg);
  const IngotTensor &x = call.in[0];
  const int64_t D = x.shape[1];
  float values[piece_size];
  for (int64_t t = begin; t < end; ++t) {
    const auto fill = [&](int64_t d, int64_t count, float *to) { read_floats(x.data, x.dtype, t * D + d, count, to); };
    static_cast<float *>(call.out[0].data)[t] = largest_of_row(fill, D, values);
  }
}

struct Nothing {};

int create(const IngotNode *node, IngotCtx *ctx, void **self) { return keep(Nothing{}, node, ctx, self); }

template <Instructions set>
int enqueue_largest(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0];
  const double token_time = 0.2 * static_cast<double>(x.shape[1]);
  ctx->host->parallel_for(ctx, x.shape[0], units_per_part(token_time), compiled_for<set, largest_part>(),
                          const_cast<IngotCall *>(call));
  return 0;
}

template <Instructions set>
int enqueue(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0];
  const double token_time = 0.4 * static_cast<double>(x.shape[1]);
  ctx->host->parallel_for(ctx, x.shape[0], units_per_part(token_time), compiled_for<set, quantize_part>(),
                          const_cast<IngotCall *>(call));
  return 0;
}

constexpr IngotArg inputs[] = {{"x", "T D", floats, INGOT_ACTIVATION, 0, 0, -1},
                               {"largest", "T", "f32", INGOT_ACTIVATION, 1, 0, -1}};
constexpr IngotArg outputs[] = {{"codes", "T D", "=dtype", INGOT_ACTIVATION, 0, 0, -1},
                                {"scale", "T", "f32", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotAttr attributes[] = {{"dtype", "dtype", "f8e4m3"}};
constexpr auto kernels = loop_kernels(create, enqueue<Instructions::avx512>, enqueue<Instructions::avx2>,
                                      enqueue<Instructions::portable>, release<Nothing>);

constexpr IngotArg largest_inputs[] = {{"x", "T D", floats, INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotArg largest_outputs[] = {{"y", "T", "f32", INGOT_ACTIVATION, 0, 0, -1}};
constexpr auto largest_kernels =
    loop_kernels(create, enqueue_largest<Instructions::avx512>, enqueue_largest<Instructions::avx2>,
                 enqueue_largest<Instructions::portable>, release<Nothing>);

constexpr IngotOp rows[] = {op_row("QuantizeToken",
                                   "scale = max(max|x| / largest, 1e-12) for each token, with largest = 448 for "
                                   "f8e4m3 and 127 for i8; codes = x / scale, rounded to the nearest, ties to even, "
                                   "and saturated. All in float32. `largest`, where it is given, stands for max|x|: "
                                   "several ranks have parts of a token, and its scale is that of all. A NaN makes the "
                                   "token's scale NaN, its codes NaN "
                                   "(f8e4m3) or 0 (i8). Dynamic quantization by token: ZeroQuant, arXiv 2206.01861, "
                                   "section 4.1; the format: FP8 Formats for Deep Learning, arXiv 2209.05433, section "
                                   "3.",
                                   inputs, outputs, attributes, infer, kernels),
                            op_row("TokenLargest", "y = max|x| for each token, in float32; NaN where x has one.",
                                   largest_inputs, largest_outputs, {}, nullptr, largest_kernels)};

}  // namespace

std::span<const IngotOp> quantize_rows() { return rows; }

}  // namespace ingot
