// AddRmsNorm, RmsNormQuantize, AddRmsNormQuantize: the rows and their definitions.
#include "ops/ingot/quantize_row.h"
#include "ops/ingot/rms_norm_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

template <bool adds, bool quantizes>
int infer(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const int64_t T = in[0].shape[0], D = in[0].shape[1], dtype = ctx->host->attr_int(node, "dtype");
  constexpr int32_t wanted = adds + 1 + quantizes;
  if (n_out != wanted) return ctx->host->error(ctx, "%d outputs are asked for; it has %d", n_out, wanted);
  if (adds) describe(out[0], in[0].dtype, {T, D});
  if (!quantizes) {
    describe(out[adds], in[0].dtype, {T, D});
    return 0;
  }
  if (check_codes(dtype, ctx)) return 1;
  describe(out[adds], static_cast<int32_t>(dtype), {T, D});
  describe(out[adds + 1], INGOT_F32, {T});
  return 0;
}

struct Kept {
  float epsilon;
};

int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  return keep(Kept{static_cast<float>(ctx->host->attr_float(node, "epsilon"))}, node, ctx, self);
}

struct Work {
  const IngotCall &call;
  float epsilon;
};

// sum = x + residual, rounded to their type.
void add_row(const IngotTensor &x, const IngotTensor &residual, const IngotTensor &sum, int64_t row, int64_t D) {
  float values[piece_size], others[piece_size];
  each_piece(D, [&](int64_t d, int64_t count) {
    read_floats(x.data, x.dtype, row + d, count, values);
    read_floats(residual.data, residual.dtype, row + d, count, others);
    for (int64_t i = 0; i < count; ++i) values[i] += others[i];
    write_floats(values, count, sum.data, sum.dtype, row + d);
  });
}

template <bool adds, bool quantizes>
void norm_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<const Work *>(arg);
  const IngotTensor *in = work.call.in, *out = work.call.out;
  const int64_t D = in[0].shape[1];
  const IngotTensor &source = adds ? out[0] : in[0], &weight = in[1 + adds], &y = out[adds];
  for (int64_t t = begin; t < end; ++t) {
    if (adds) add_row(in[0], in[1], out[0], t * D, D);
    const float rms = root_mean_square(source.data, source.dtype, t * D, D, work.epsilon);
    const RmsNormRow norm{source.data, source.dtype, t * D, weight.data, rms};
    if (quantizes) {
      const float scale = quantize_row(norm, D, y.dtype, static_cast<uint8_t *>(y.data) + t * D);
      static_cast<float *>(out[adds + 1].data)[t] = scale;
    } else {
      float values[piece_size];
      each_piece(D, [&](int64_t d, int64_t count) {
        norm(d, count, values);
        write_floats(values, count, y.data, y.dtype, t * D + d);
      });
    }
  }
}

template <Instructions set, bool adds, bool quantizes>
int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0];
  Work work{*call, static_cast<const Kept *>(self)->epsilon};
  const double token_time = 0.3 * (2 + adds + quantizes) * static_cast<double>(x.shape[1]);
  ctx->host->parallel_for(ctx, x.shape[0], units_per_part(token_time), compiled_for<set, norm_part<adds, quantizes>>(),
                          &work);
  return 0;
}

template <bool adds, bool quantizes>
constexpr auto kernels =
    loop_kernels(create, enqueue<Instructions::avx512, adds, quantizes>, enqueue<Instructions::avx2, adds, quantizes>,
                 enqueue<Instructions::portable, adds, quantizes>, release<Kept>);

constexpr IngotArg x = {"x", "T D", "X:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1};
constexpr IngotArg residual = {"residual", "T D", "X", INGOT_ACTIVATION, 0, 0, -1};
constexpr IngotArg weight = {"weight", "D", "X", INGOT_WEIGHT, 0, 0, -1};
constexpr IngotArg sum = {"sum", "T D", "X", INGOT_ACTIVATION, 0, 0, -1};
constexpr IngotArg y = {"y", "T D", "X", INGOT_ACTIVATION, 0, 0, -1};
constexpr IngotArg codes = {"codes", "T D", "=dtype", INGOT_ACTIVATION, 0, 0, -1};
constexpr IngotArg scale = {"scale", "T", "f32", INGOT_ACTIVATION, 0, 0, -1};

constexpr IngotArg one_in[] = {x, weight}, two_in[] = {x, residual, weight};
constexpr IngotArg norm_out[] = {sum, y}, codes_out[] = {codes, scale}, all_out[] = {sum, codes, scale};
constexpr IngotAttr norm_attributes[] = {{"epsilon", "float", "1e-5"}};
constexpr IngotAttr code_attributes[] = {{"epsilon", "float", "1e-5"}, {"dtype", "dtype", "f8e4m3"}};

constexpr IngotOp rows[] = {
    op_row("AddRmsNorm",
           "sum = x + residual, rounded to X; y = RMSNormalization(sum, weight): sum / sqrt(mean(sum^2) + epsilon) in "
           "float32, rounded to X, times weight, rounded to X. Equal, bit for bit, to Add and RMSNormalization. Root "
           "Mean Square Layer Normalization, arXiv 1910.07467, section 4; the roundings are those of ONNX "
           "RMSNormalization-23 with stash_type 1.",
           two_in, norm_out, norm_attributes, infer<true, false>, kernels<true, false>),
    op_row("RmsNormQuantize",
           "codes, scale = QuantizeToken(RMSNormalization(x, weight)), bit for bit: the norm is rounded to X first. "
           "arXiv 1910.07467, section 4, and arXiv 2206.01861, section 4.1.",
           one_in, codes_out, code_attributes, infer<false, true>, kernels<false, true>),
    op_row("AddRmsNormQuantize",
           "sum = x + residual, rounded to X; codes, scale = QuantizeToken(RMSNormalization(sum, weight)), bit for "
           "bit: the norm is rounded to X first. arXiv 1910.07467, section 4, and arXiv 2206.01861, section 4.1.",
           two_in, all_out, code_attributes, infer<true, true>, kernels<true, true>)};

}  // namespace

std::span<const IngotOp> norm_rows() { return rows; }

}  // namespace ingot
