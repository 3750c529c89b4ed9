#include <cmath>
#include <string_view>

#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"

namespace ingot::standard {
namespace {

using FloatFunction = float (*)(float);
using IntegerFunction = int64_t (*)(int64_t);

// integer_function NULL: the row takes floats only.
template <FloatFunction float_function, IntegerFunction integer_function = nullptr>
int apply(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &x = call.in[0];
  if constexpr (integer_function != nullptr) {
    if (!is_float(x.dtype)) {
      map<int64_t, int64_t, 1>(ctx, call.out[0], {&x}, integer_function);
      return 0;
    }
  }
  map<float, float, 1>(ctx, call.out[0], {&x}, float_function);
  return 0;
}

template <FloatFunction float_function, IntegerFunction integer_function = nullptr>
constexpr const IngotKernel &kernel = NaiveFunction<apply<float_function, integer_function>>::kernel;

float sqrt_of(float x) { return std::sqrt(x); }
float exp_of(float x) { return std::exp(x); }
float log_of(float x) { return std::log(x); }
float sin_of(float x) { return std::sin(x); }
float cos_of(float x) { return std::cos(x); }
float tanh_of(float x) { return std::tanh(x); }
float erf_of(float x) { return std::erf(x); }
float reciprocal(float x) { return 1.f / x; }
float sigmoid(float x) { return 1.f / (1.f + std::exp(-x)); }
float softplus(float x) { return std::fmax(x, 0.f) + std::log1p(std::exp(-std::fabs(x))); }
float floor_of(float x) { return std::floor(x); }
float ceil_of(float x) { return std::ceil(x); }
float round_of(float x) { return std::nearbyint(x); }

float negative(float x) { return -x; }
int64_t negative_integer(int64_t x) { return static_cast<int64_t>(-static_cast<uint64_t>(x)); }
float size_of(float x) { return std::fabs(x); }
int64_t integer_size(int64_t x) { return x < 0 ? negative_integer(x) : x; }
float sign_of(float x) { return x > 0 ? 1.f : x < 0 ? -1.f : x; }  // NaN and zeros stay
int64_t integer_sign(int64_t x) { return (x > 0) - (x < 0); }
float relu(float x) { return x < 0 ? 0.f : x; }
int64_t integer_relu(int64_t x) { return x < 0 ? 0 : x; }

int not_of(const IngotCall &call, IngotCtx *ctx) {
  map<int64_t, int64_t, 1>(ctx, call.out[0], {&call.in[0]}, [](int64_t x) { return int64_t{x == 0}; });
  return 0;
}

int bits_inverted(const IngotCall &call, IngotCtx *ctx) {
  map<int64_t, int64_t, 1>(ctx, call.out[0], {&call.in[0]}, [](int64_t x) { return ~x; });
  return 0;
}

int is_nan(const IngotCall &call, IngotCtx *ctx) {
  map<float, int64_t, 1>(ctx, call.out[0], {&call.in[0]}, [](float x) { return int64_t{std::isnan(x)}; });
  return 0;
}

struct Gelu {
  bool tanh;

  explicit Gelu(const Attributes &attributes) : tanh(std::string_view(attributes.text("approximate")) == "tanh") {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const auto exact = [](float x) { return 0.5f * x * std::erfc(-0.70710678118f * x); };
    const auto nearly = [](float x) {
      return 0.5f * x * (1.f + std::tanh(0.79788456080f * (x + 0.044715f * x * x * x)));
    };
    if (tanh) map<float, float, 1>(ctx, call.out[0], {&call.in[0]}, nearly);
    if (!tanh) map<float, float, 1>(ctx, call.out[0], {&call.in[0]}, exact);
    return 0;
  }
};

int gelu_output(const Inference &inference) {
  const std::string_view approximate = inference.attributes().text("approximate");
  if (approximate == "none" || approximate == "tanh") return same_as_input(inference);
  return inference.refuse("approximate is '%.40s', it must be none or tanh", approximate.data());
}

struct Swish {
  float alpha;

  explicit Swish(const Attributes &attributes) : alpha(attributes.number("alpha")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    map<float, float, 1>(ctx, call.out[0], {&call.in[0]}, [this](float x) { return x / (1.f + std::exp(-alpha * x)); });
    return 0;
  }
};

struct LeakyRelu {
  float alpha;

  explicit LeakyRelu(const Attributes &attributes) : alpha(attributes.number("alpha")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    map<float, float, 1>(ctx, call.out[0], {&call.in[0]}, [this](float x) { return x < 0 ? alpha * x : x; });
    return 0;
  }
};

int boolean_output(const Inference &inference) { return inference.give(0, INGOT_BOOL, inference.in[0]); }

constexpr IngotArg x_floats[] = {input("X", floats)}, x_signed[] = {input("X", signed_numbers)};
constexpr IngotArg x_numbers[] = {input("X", numbers)}, x_booleans[] = {input("X", "T:bool")};
constexpr IngotArg x_integers[] = {input("X", integers)}, x_any_floats[] = {input("X", "f32|f16|bf16|f8e4m3|f8e5m2")};
constexpr IngotArg input_floats[] = {input("input", floats)}, input_numbers[] = {input("input", numbers)};
constexpr IngotArg y[] = {output("Y", "T", 0)}, y_boolean[] = {output("Y", "bool")}, out[] = {output("output", "T", 0)};
constexpr IngotAttr gelu_attributes[] = {{"approximate", "string", "none"}};
constexpr IngotAttr swish_attributes[] = {{"alpha", "float", "1"}};
constexpr IngotAttr leaky_attributes[] = {{"alpha", "float", "0.01"}};

constexpr Infer same = infer_by<same_as_input>;

constexpr IngotOp rows[] = {
    row("Neg", "Y = -X", x_signed, y, same, kernel<negative, negative_integer>),
    row("Abs", "Y = |X|", x_numbers, y, same, kernel<size_of, integer_size>),
    row("Sign", "output = 1, 0 or -1 as input is positive, zero or negative", input_numbers, out, same,
        kernel<sign_of, integer_sign>),
    row("Sqrt", "Y = X^0.5", x_floats, y, same, kernel<sqrt_of>),
    row("Reciprocal", "Y = 1 / X", x_floats, y, same, kernel<reciprocal>),
    row("Exp", "output = e^input", input_floats, out, same, kernel<exp_of>),
    row("Log", "output = ln input", input_floats, out, same, kernel<log_of>),
    row("Sin", "output = sin input", input_floats, out, same, kernel<sin_of>),
    row("Cos", "output = cos input", input_floats, out, same, kernel<cos_of>),
    row("Tanh", "output = tanh input", input_floats, out, same, kernel<tanh_of>),
    row("Sigmoid", "Y = 1 / (1 + e^-X)", x_floats, y, same, kernel<sigmoid>),
    row("Erf", "output = erf input", input_floats, out, same, kernel<erf_of>),
    row("Relu", "Y = max(X, 0)", x_signed, y, same, kernel<relu, integer_relu>),
    row("LeakyRelu", "Y = X, or alpha * X where X < 0", x_floats, y, leaky_attributes, same, Naive<LeakyRelu>::kernel),
    row("Gelu", "Y = X / 2 * (1 + erf(X / 2^0.5)), or the approximation of it by tanh", x_floats, y, gelu_attributes,
        infer_by<gelu_output>, Naive<Gelu>::kernel),
    row("Swish", "Y = X / (1 + e^(-alpha * X))", x_floats, y, swish_attributes, same, Naive<Swish>::kernel),
    row("Softplus", "Y = ln(1 + e^X)", x_floats, y, same, kernel<softplus>),
    row("Floor", "Y = the largest whole number not above X", x_floats, y, same, kernel<floor_of>),
    row("Ceil", "Y = the smallest whole number not below X", x_floats, y, same, kernel<ceil_of>),
    row("Round", "Y = the whole number nearest to X, the even one of two", x_floats, y, same, kernel<round_of>),
    row("IsNaN", "Y = X is not a number", x_any_floats, y_boolean, infer_by<boolean_output>,
        NaiveFunction<is_nan>::kernel),
    row("Not", "Y = not X", x_booleans, y, same, NaiveFunction<not_of>::kernel),
    row("BitwiseNot", "Y = X with every bit inverted", x_integers, y, same, NaiveFunction<bits_inverted>::kernel),
};

}  // namespace

std::span<const IngotOp> unary_rows() { return rows; }

}  // namespace ingot::standard
