// GroupedLinear: the row and its definition.
#include "ops/cpu/fast.h"
#include "ops/ingot/float_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

int infer(const IngotNode *, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const IngotHost *host = ctx->host;
  const IngotTensor &x = in[0], &codes = in[1], &scale = in[2];
  const int64_t D = codes.shape[1], N = scale.shape[1];
  if (n_out != 1) return host->error(ctx, "%d outputs are asked for; it has 1", n_out);
  if (N < 1 || D % N != 0) {
    return host->error(ctx, "%lld scales of a row do not share its %lld codes equally", static_cast<long long>(N),
                       static_cast<long long>(D));
  }
  if ((codes.dtype == INGOT_I4 || codes.dtype == INGOT_U4) && D % 2 != 0) {
    return host->error(ctx, "a row of %lld codes of 4 bits does not end with a byte; D must be even",
                       static_cast<long long>(D));
  }
  describe(out[0], x.dtype, {x.shape[0], codes.shape[0]});
  return 0;
}

// Code i of a tensor as a number.
float code_at(const IngotTensor &codes, int64_t i) {
  if (codes.dtype == INGOT_I8) return static_cast<const int8_t *>(codes.data)[i];
  const int pair = static_cast<const uint8_t *>(codes.data)[i / 2], code = i % 2 ? pair >> 4 : pair & 15;
  return static_cast<float>(codes.dtype == INGOT_I4 && code > 7 ? code - 16 : code);
}

struct Work {
  const IngotTensor &x, &codes, &scale, &y;
  const IngotTensor *zero, *bias;  // NULL: absent
};

float product(const Work &work, int64_t t, int64_t f) {
  const int64_t D = work.x.shape[1], N = work.scale.shape[1], group = D / N;
  float x[piece_size], sum = 0;
  for (int64_t n = 0; n < N; ++n) {
    const float zero = work.zero ? static_cast<const int8_t *>(work.zero->data)[f * N + n] : 0;
    float of_group = 0;
    each_piece(group, [&](int64_t first, int64_t count) {
      const int64_t d = n * group + first;
      read_floats(work.x.data, work.x.dtype, t * D + d, count, x);
      for (int64_t i = 0; i < count; ++i) of_group += x[i] * (code_at(work.codes, f * D + d + i) - zero);
    });
    sum += of_group * read_float(work.scale.data, work.scale.dtype, f * N + n);
  }
  return sum;
}

void outputs_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<const Work *>(arg);
  const int64_t F = work.codes.shape[0];
  for (int64_t i = begin; i < end; ++i) {
    float y = product(work, i / F, i % F);
    if (work.bias) y += read_float(work.bias->data, work.bias->dtype, i % F);
    write_floats(&y, 1, work.y.data, work.y.dtype, i);
  }
}

struct Kept {};

int create(const IngotNode *node, IngotCtx *ctx, void **self) { return keep(Kept{}, node, ctx, self); }

int enqueue(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const auto present = [&](int32_t i) { return i < call->n_in && call->in[i].dtype ? &call->in[i] : nullptr; };
  Work work{call->in[0], call->in[1], call->in[2], call->out[0], present(3), present(4)};
  const double output_time = 3 * static_cast<double>(work.x.shape[1]);
  ctx->host->parallel_for(ctx, work.x.shape[0] * work.codes.shape[0], units_per_part(output_time), outputs_part, &work);
  return 0;
}

constexpr IngotKernel naive = {"naive", INGOT_CPU, 0,      0,       naive_flags, nullptr,      nullptr,
                               nullptr, nullptr,   create, nullptr, enqueue,     release<Kept>};

constexpr IngotArg inputs[] = {{"x", "T D", "X:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1},
                               {"codes", "F D", "i4|u4|i8", INGOT_WEIGHT, 0, 0, -1},
                               {"scale", "F N", floats, INGOT_WEIGHT, 0, 0, -1},
                               {"zero", "F N", "i8", INGOT_WEIGHT, 1, 0, -1},
                               {"bias", "F", floats, INGOT_WEIGHT, 1, 0, -1}};
constexpr IngotArg outputs[] = {{"y", "T F", "X", INGOT_ACTIVATION, 0, 0, -1}};

}  // namespace

std::span<const IngotOp> grouped_linear_rows() {
  static const std::vector<IngotKernel> kernels = with_naive(grouped_linear_kernels(), naive);
  static const IngotOp rows[] = {
      op_row("GroupedLinear",
             "y = x ((codes - zero) scale)^T + bias, for weights of 4 or 8 bits whose rows are N groups of D/N, each "
             "with a scale and, where there are zero points, one of those. Everything lies row by row, two "
             "codes of 4 bits in a byte, the even one in the low half. The definition sums the products of a group "
             "with x in float32, then the groups' sums times their scales, and rounds once, with the bias, to X; the "
             "other kernels have one order each, whatever T. Groups: GPTQ, arXiv 2210.17323, section 4; zero points: "
             "Jacob et al., arXiv 1712.05877, section 2.1.",
             inputs, outputs, {}, infer, kernels)};
  return rows;
}

}  // namespace ingot
