#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"

namespace ingot::standard {
namespace {

// NaN wins.
template <class Number>
Number smaller(Number a, Number b) {
  return b < a || b != b ? b : a;
}

template <class Number>
Number larger(Number a, Number b) {
  return b > a || b != b ? b : a;
}

template <class Number>
using Function = Number (*)(Number, Number);

template <class Number, Function<Number> function>
void fold(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &y = call.out[0];
  if (call.n_in == 1) map<Number, Number, 1>(ctx, y, {&call.in[0]}, [](Number x) { return x; });
  if (call.n_in > 1) map<Number, Number, 2>(ctx, y, {&call.in[0], &call.in[1]}, function);
  for (int32_t i = 2; i < call.n_in; ++i) map<Number, Number, 2>(ctx, y, {&y, &call.in[i]}, function);
}

template <Function<float> of_floats, Function<int64_t> of_integers>
int extreme(const IngotCall &call, IngotCtx *ctx) {
  if (is_float(call.in[0].dtype)) fold<float, of_floats>(call, ctx);
  if (!is_float(call.in[0].dtype)) fold<int64_t, of_integers>(call, ctx);
  return 0;
}

template <class Number>
void clip_to(const IngotCall &call, IngotCtx *ctx) {
  Number low = std::numeric_limits<Number>::lowest(), high = std::numeric_limits<Number>::max();
  if constexpr (std::is_same_v<Number, float>) low = -INFINITY, high = INFINITY;
  if (is_present(call, 1)) read_elements(call.in[1].data, call.in[1].dtype, 0, 0, 1, &low);
  if (is_present(call, 2)) read_elements(call.in[2].data, call.in[2].dtype, 0, 0, 1, &high);
  map<Number, Number, 1>(ctx, call.out[0], {&call.in[0]},
                         [low, high](Number x) { return smaller(larger(x, low), high); });
}

int clip(const IngotCall &call, IngotCtx *ctx) {
  if (is_float(call.in[0].dtype)) clip_to<float>(call, ctx);
  if (!is_float(call.in[0].dtype)) clip_to<int64_t>(call, ctx);
  return 0;
}

int extreme_output(const Inference &inference) { return broadcast_output(inference, inference.in[0].dtype); }

int clip_output(const Inference &inference) {
  for (size_t i = 1; i < inference.in.size(); ++i) {
    if (!inference.has(i) || elements_of(inference.in[i]) == 1) continue;
    return inference.refuse("%s is [%s], it must be one number", i == 1 ? "min" : "max", dims_text(inference.in[i]));
  }
  return same_as_input(inference);
}

constexpr IngotArg in_any_count[] = {variadic(input("data_0", numbers))};
constexpr IngotArg in_clip[] = {input("input", numbers), optional(input("min", "T")), optional(input("max", "T"))};
constexpr IngotArg out_min[] = {output("min", "T", 0)}, out_max[] = {output("max", "T", 0)},
                   out[] = {output("output", "T", 0)};

constexpr IngotOp rows[] = {
    row("Min", "min = the smallest of all inputs, element by element; NaN wins", in_any_count, out_min,
        infer_by<extreme_output>, NaiveFunction<extreme<smaller<float>, smaller<int64_t>>>::kernel),
    row("Max", "max = the largest of all inputs, element by element; NaN wins", in_any_count, out_max,
        infer_by<extreme_output>, NaiveFunction<extreme<larger<float>, larger<int64_t>>>::kernel),
    row("Clip", "output = min(max(input, min), max)", in_clip, out, infer_by<clip_output>, NaiveFunction<clip>::kernel),
};

}  // namespace

std::span<const IngotOp> extreme_rows() { return rows; }

}  // namespace ingot::standard
