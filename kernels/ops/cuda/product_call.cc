#include "ops/cuda/product_call.h"

namespace ingot {
namespace {

// Where the inputs of each op stand; -1: it has no such.
struct Places {
  int32_t x, weight, x_scale, scale, group_scale, zero, bias;
};

constexpr Places places_of(ProductOp op) {
  if (op == ProductOp::linear) return {0, 1, -1, -1, -1, -1, 2};
  if (op == ProductOp::scaled) return {0, 2, 1, 3, -1, -1, 4};
  return {0, 1, -1, -1, 2, 3, 4};
}

// input(i, tensor) fills in input i; the tensor of an absent one stays as it is.
template <class Input>
Product describe(ProductOp op, const IngotCtx *ctx, const Input &input, const IngotTensor &y) {
  const Places places = places_of(op);
  const auto tensor = [&](int32_t place) {
    IngotTensor found{};
    if (place >= 0) input(place, found);
    return found;
  };
  const IngotTensor x = tensor(places.x), weight = tensor(places.weight), bias = tensor(places.bias);
  const IngotTensor x_scale = tensor(places.x_scale), scale = tensor(places.scale);
  const IngotTensor group_scale = tensor(places.group_scale), zero = tensor(places.zero);
  Product p{};
  p.sm = ctx->sm, p.sm_count = ctx->sm_count;
  p.x_TD = x.data, p.x_dtype = x.dtype;
  p.weight_FD = weight.data, p.weight_dtype = weight.dtype;
  p.y_TF = y.data, p.y_dtype = y.dtype;
  p.bias_F = bias.data, p.bias_dtype = bias.dtype;
  p.x_scale_T = static_cast<const float *>(x_scale.data), p.x_scale_dtype = x_scale.dtype;
  p.scale_F = static_cast<const float *>(scale.data), p.scale_dtype = scale.dtype, p.scale_step = scale.rank ? 1 : 0;
  p.group_scale_FN = group_scale.data, p.group_scale_dtype = group_scale.dtype;
  p.zero_FN = static_cast<const int8_t *>(zero.data);
  p.T = static_cast<int32_t>(x.shape[0]), p.D = static_cast<int32_t>(x.shape[1]);
  p.F = static_cast<int32_t>(weight.shape[0]);
  p.N = group_scale.dtype ? static_cast<int32_t>(group_scale.shape[1]) : 0;
  return p;
}

}  // namespace

Product product_of_node(ProductOp op, const IngotNode *node, const IngotCtx *ctx) {
  const IngotHost *host = ctx->host;
  IngotTensor y{};
  host->output(node, 0, &y);
  const int32_t count = host->input_count(node);
  const auto input = [&](int32_t i, IngotTensor &tensor) {
    if (i < count) host->input(node, i, &tensor);
  };
  return describe(op, ctx, input, y);
}

Product product_of_call(ProductOp op, const IngotCall *call, const IngotCtx *ctx) {
  const auto input = [&](int32_t i, IngotTensor &tensor) {
    if (i < call->n_in) tensor = call->in[i];
  };
  return describe(op, ctx, input, call->out[0]);
}

}  // namespace ingot
