// Linear, ScaledLinear: the rows and their definitions.
#include "ops/cpu/fast.h"
#include "ops/dtype.h"
#include "ops/ingot/float_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

int infer_scaled(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out,
                 int32_t n_out) {
  const IngotHost *host = ctx->host;
  const IngotTensor &x = in[0], &weight = in[2], &scale = in[3];
  const auto dtype = static_cast<int32_t>(host->attr_int(node, "dtype"));
  if (n_out != 1) return host->error(ctx, "%d outputs are asked for; it has 1", n_out);
  if (dtype != INGOT_F32 && dtype != INGOT_F16 && dtype != INGOT_BF16) {
    return host->error(ctx, "attribute dtype is %s; y is f32, f16 or bf16", dtype_name(dtype));
  }
  if (scale.rank > 1 || (scale.rank == 1 && scale.shape[0] != weight.shape[0])) {
    return host->error(
        ctx, "scale has rank %d and %lld elements; it is a scalar or has one for each of the %lld rows of weight",
        scale.rank, static_cast<long long>(elements_of(scale)), static_cast<long long>(weight.shape[0]));
  }
  describe(out[0], dtype, {x.shape[0], weight.shape[0]});
  return 0;
}

struct Work {
  const IngotTensor &x, &weight, &y;
  const IngotTensor *x_scale, *scale, *bias;  // NULL: absent
};

// The sum of x d times weight d for d = 0, 1, …
float product(const Work &work, int64_t t, int64_t f) {
  const int64_t D = work.x.shape[1];
  float x[piece_size], weight[piece_size], sum = 0;
  each_piece(D, [&](int64_t d, int64_t count) {
    read_floats(work.x.data, work.x.dtype, t * D + d, count, x);
    read_floats(work.weight.data, work.weight.dtype, f * D + d, count, weight);
    for (int64_t i = 0; i < count; ++i) sum += x[i] * weight[i];
  });
  return sum;
}

void outputs_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<const Work *>(arg);
  const int64_t F = work.weight.shape[0];
  for (int64_t i = begin; i < end; ++i) {
    const int64_t t = i / F, f = i % F;
    float y = product(work, t, f);
    if (work.x_scale) y *= static_cast<const float *>(work.x_scale->data)[t];
    if (work.scale) y *= static_cast<const float *>(work.scale->data)[work.scale->rank ? f : 0];
    if (work.bias) y += read_float(work.bias->data, work.bias->dtype, f);
    write_floats(&y, 1, work.y.data, work.y.dtype, i);
  }
}

struct Kept {};

int create(const IngotNode *node, IngotCtx *ctx, void **self) { return keep(Kept{}, node, ctx, self); }

const IngotTensor *present(const IngotCall *call, int32_t i) {
  return i < call->n_in && call->in[i].dtype ? &call->in[i] : nullptr;
}

int run(Work work, IngotCtx *ctx) {
  const int64_t outputs = work.x.shape[0] * work.weight.shape[0];
  const double output_time = 2 * static_cast<double>(work.x.shape[1]);
  ctx->host->parallel_for(ctx, outputs, units_per_part(output_time), outputs_part, &work);
  return 0;
}

int enqueue_linear(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  return run({call->in[0], call->in[1], call->out[0], nullptr, nullptr, present(call, 2)}, ctx);
}

int enqueue_scaled(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  return run({call->in[0], call->in[2], call->out[0], present(call, 1), &call->in[3], present(call, 4)}, ctx);
}

constexpr IngotKernel naive = {"naive", INGOT_CPU, 0,      0,       naive_flags,    nullptr,      nullptr,
                               nullptr, nullptr,   create, nullptr, enqueue_linear, release<Kept>};
constexpr IngotKernel naive_scaled = {"naive", INGOT_CPU, 0,      0,       naive_flags,    nullptr,      nullptr,
                                      nullptr, nullptr,   create, nullptr, enqueue_scaled, release<Kept>};

constexpr IngotArg inputs[] = {{"x", "T D", "X:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1},
                               {"weight", "F D", "X", INGOT_WEIGHT, 0, 0, -1},
                               {"bias", "F", floats, INGOT_WEIGHT, 1, 0, -1}};
constexpr IngotArg outputs[] = {{"y", "T F", "X", INGOT_ACTIVATION, 0, 0, -1}};

constexpr IngotArg scaled_inputs[] = {{"x", "T D", "f32|f16|bf16|f8e4m3|i8", INGOT_ACTIVATION, 0, 0, -1},
                                      {"x_scale", "T", "f32", INGOT_ACTIVATION, 1, 0, -1},
                                      {"weight", "F D", "f8e4m3|i8", INGOT_WEIGHT, 0, 0, -1},
                                      {"scale", "...", "f32", INGOT_WEIGHT, 0, 0, -1},
                                      {"bias", "F", floats, INGOT_WEIGHT, 1, 0, -1}};
constexpr IngotArg scaled_outputs[] = {{"y", "T F", "=dtype", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotAttr scaled_attributes[] = {{"dtype", "dtype", nullptr}};

}  // namespace

std::span<const IngotOp> linear_rows() {
  static const std::vector<IngotKernel> kernels = with_naive(linear_kernels(), naive);
  static const std::vector<IngotKernel> scaled_kernels = with_naive(scaled_linear_kernels(), naive_scaled);
  static const IngotOp rows[] = {
      op_row("Linear",
             "y = x weight^T + bias: the products are summed in float32 and rounded once, with the bias, to X. The "
             "definition sums in the order of D; the other kernels have one order each, whatever T. Attention Is All "
             "You Need, arXiv 1706.03762, section 3.3, equation 2, has two of them.",
             inputs, outputs, {}, nullptr, kernels),
      op_row("ScaledLinear",
             "y = (x weight^T) x_scale scale + bias: the products of codes are summed in float32, multiplied by the "
             "token's scale (if x is codes) and by the scale of the row of weight or of all rows (a scalar), and "
             "rounded once, with the bias, to dtype. Weights in FP8: FP8 Formats for Deep Learning, arXiv 2209.05433, "
             "section 3; scales of rows and tokens: ZeroQuant, arXiv 2206.01861, section 4.1.",
             scaled_inputs, scaled_outputs, scaled_attributes, infer_scaled, scaled_kernels)};
  return rows;
}

}  // namespace ingot
