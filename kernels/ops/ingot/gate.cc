// Gate, GateQuantize: the rows and their definitions.
#include "ops/ingot/activation.h"
#include "ops/ingot/quantize_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

template <bool quantizes>
int infer(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const IngotHost *host = ctx->host;
  const int64_t T = in[0].shape[0], E = in[0].shape[1], dtype = host->attr_int(node, "dtype");
  const char *name = host->attr_string(node, "activation");
  Activation activation;
  if (!find_activation(name, &activation)) {
    return host->error(ctx, "attribute activation is '%s'; it may be silu, gelu, gelu_tanh or relu", name);
  }
  if (E % 2) {
    return host->error(ctx, "gate_up is %lld wide; it has two halves of one width", static_cast<long long>(E));
  }
  if (n_out != 1 + quantizes) return host->error(ctx, "%d outputs are asked for; it has %d", n_out, 1 + quantizes);
  if (quantizes && check_codes(dtype, ctx)) return 1;
  describe(out[0], quantizes ? static_cast<int32_t>(dtype) : in[0].dtype, {T, E / 2});
  if (quantizes) describe(out[1], INGOT_F32, {T});
  return 0;
}

// Fills pieces of act(first half) * second half, rounded to their type.
template <Activation kind>
struct GateRow {
  const IngotTensor &gate_up;
  int64_t first, F;  // where the row begins; the width of a half

  void operator()(int64_t d, int64_t count, float *to) const {
    float up[piece_size];
    read_floats(gate_up.data, gate_up.dtype, first + d, count, to);
    read_floats(gate_up.data, gate_up.dtype, first + F + d, count, up);
    for (int64_t i = 0; i < count; ++i) to[i] = activated<kind>(to[i]) * up[i];
    round_floats(to, count, gate_up.dtype);
  }
};

template <bool quantizes, Activation kind>
void gate_part(void *arg, int64_t begin, int64_t end) {
  const IngotCall &call = *static_cast<const IngotCall *>(arg);
  const IngotTensor &gate_up = call.in[0], &y = call.out[0];
  const int64_t F = gate_up.shape[1] / 2;
  for (int64_t t = begin; t < end; ++t) {
    const GateRow<kind> gate{gate_up, t * 2 * F, F};
    if (quantizes) {
      const float scale = quantize_row(gate, F, y.dtype, static_cast<uint8_t *>(y.data) + t * F);
      static_cast<float *>(call.out[1].data)[t] = scale;
    } else {
      float values[piece_size];
      each_piece(F, [&](int64_t d, int64_t count) {
        gate(d, count, values);
        write_floats(values, count, y.data, y.dtype, t * F + d);
      });
    }
  }
}

template <Instructions set, bool quantizes>
Part part_of(Activation kind) {
  switch (kind) {
    case Activation::silu:
      return compiled_for<set, gate_part<quantizes, Activation::silu>>();
    case Activation::gelu:
      return compiled_for<set, gate_part<quantizes, Activation::gelu>>();
    case Activation::gelu_tanh:
      return compiled_for<set, gate_part<quantizes, Activation::gelu_tanh>>();
    default:
      return compiled_for<set, gate_part<quantizes, Activation::relu>>();
  }
}

struct Kept {
  Activation activation;
};

int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  Kept kept{};
  find_activation(ctx->host->attr_string(node, "activation"), &kept.activation);
  return keep(kept, node, ctx, self);
}

template <Instructions set, bool quantizes>
int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Activation kind = static_cast<const Kept *>(self)->activation;
  const IngotTensor &gate_up = call->in[0];
  const double token_time = 0.5 * static_cast<double>(gate_up.shape[1]);
  ctx->host->parallel_for(ctx, gate_up.shape[0], units_per_part(token_time), part_of<set, quantizes>(kind),
                          const_cast<IngotCall *>(call));
  return 0;
}

template <bool quantizes>
constexpr auto kernels =
    loop_kernels(create, enqueue<Instructions::avx512, quantizes>, enqueue<Instructions::avx2, quantizes>,
                 enqueue<Instructions::portable, quantizes>, release<Kept>);

constexpr IngotArg inputs[] = {{"gate_up", "T E", "X:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotArg gate_out[] = {{"y", "T E/2", "X", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotArg codes_out[] = {{"codes", "T E/2", "=dtype", INGOT_ACTIVATION, 0, 0, -1},
                                  {"scale", "T", "f32", INGOT_ACTIVATION, 0, 0, -1}};
constexpr IngotAttr gate_attributes[] = {{"activation", "string", nullptr}};
constexpr IngotAttr code_attributes[] = {{"activation", "string", nullptr}, {"dtype", "dtype", "f8e4m3"}};

constexpr IngotOp rows[] = {
    op_row("Gate",
           "y = act(first half of gate_up) * second half, in float32 and rounded once; Split, the activation and Mul "
           "round the activation too. act: silu, x / (1 + e^-x); gelu, x (1 + erf(x / sqrt 2)) / 2; gelu_tanh, x (1 + "
           "tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2; relu, max(x, 0). GLU Variants Improve Transformer, arXiv "
           "2002.05202, section 2.",
           inputs, gate_out, gate_attributes, infer<false>, kernels<false>),
    op_row("GateQuantize",
           "codes, scale = QuantizeToken(Gate(gate_up)), bit for bit: the gated value is rounded to X first. arXiv "
           "2002.05202, section 2, and arXiv 2206.01861, section 4.1.",
           inputs, codes_out, code_attributes, infer<true>, kernels<true>)};

}  // namespace

std::span<const IngotOp> gate_rows() { return rows; }

}  // namespace ingot
