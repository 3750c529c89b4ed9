#include <cmath>
#include <string_view>

#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"

namespace ingot::standard {
namespace {

using FloatFunction = float (*)(float, float);
using IntegerFunction = int64_t (*)(int64_t, int64_t);

template <FloatFunction float_function, IntegerFunction integer_function>
int apply(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &a = call.in[0], &b = call.in[1];
  if (float_function && is_float(a.dtype)) {
    if constexpr (float_function != nullptr) map<float, float, 2>(ctx, call.out[0], {&a, &b}, float_function);
  } else {
    map<int64_t, int64_t, 2>(ctx, call.out[0], {&a, &b}, integer_function);
  }
  return 0;
}

template <FloatFunction float_function, IntegerFunction integer_function>
constexpr const IngotKernel &kernel = NaiveFunction<apply<float_function, integer_function>>::kernel;

// Integers lose the bits that their type does not have, as in two's complement.
template <class Function>
int64_t wrapping(int64_t a, int64_t b, Function function) {
  return static_cast<int64_t>(function(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
}

float sum(float a, float b) { return a + b; }
int64_t integer_sum(int64_t a, int64_t b) {
  return wrapping(a, b, [](uint64_t x, uint64_t y) { return x + y; });
}
float difference(float a, float b) { return a - b; }
int64_t integer_difference(int64_t a, int64_t b) {
  return wrapping(a, b, [](uint64_t x, uint64_t y) { return x - y; });
}
float product(float a, float b) { return a * b; }
int64_t integer_product(int64_t a, int64_t b) {
  return wrapping(a, b, [](uint64_t x, uint64_t y) { return x * y; });
}

float quotient(float a, float b) { return a / b; }
// Toward zero; 0 where ONNX defines nothing, which is division by zero.
int64_t integer_quotient(int64_t a, int64_t b) {
  if (b == 0) return 0;
  return b == -1 ? integer_difference(0, a) : a / b;
}

// The remainder has the sign of the divisor, as in Python.
int64_t integer_modulo(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
int64_t integer_remainder(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

int64_t both(int64_t a, int64_t b) { return a & b; }
int64_t either(int64_t a, int64_t b) { return a | b; }
int64_t differing(int64_t a, int64_t b) { return a ^ b; }

int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent & 1 ? -1 : 1) : 0;
  int64_t power = 1;
  for (; exponent; exponent >>= 1, base = integer_product(base, base)) {
    if (exponent & 1) power = integer_product(power, base);
  }
  return power;
}

int64_t integer_of(double x) {
  if (!(x > -0x1p63)) return std::isnan(x) ? 0 : INT64_MIN;
  return x < 0x1p63 ? static_cast<int64_t>(x) : INT64_MAX;
}

int power(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &x = call.in[0], &y = call.in[1];
  const auto real = [](float base, float exponent) { return std::pow(base, exponent); };
  const auto whole = [](float base, float exponent) { return integer_of(std::pow(double{base}, double{exponent})); };
  if (is_float(x.dtype)) {
    map<float, float, 2>(ctx, call.out[0], {&x, &y}, real);
  } else if (is_float(y.dtype)) {
    map<float, int64_t, 2>(ctx, call.out[0], {&x, &y}, whole);
  } else {
    map<int64_t, int64_t, 2>(ctx, call.out[0], {&x, &y}, integer_power);
  }
  return 0;
}

struct Mod {
  bool as_in_c;

  explicit Mod(const Attributes &attributes) : as_in_c(attributes.integer("fmod") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &a = call.in[0], &b = call.in[1];
    if (is_float(a.dtype)) {
      map<float, float, 2>(ctx, call.out[0], {&a, &b}, [](float x, float y) { return std::fmod(x, y); });
    } else {
      map<int64_t, int64_t, 2>(ctx, call.out[0], {&a, &b}, as_in_c ? integer_remainder : integer_modulo);
    }
    return 0;
  }
};

struct BitShift {
  bool left;

  explicit BitShift(const Attributes &attributes) : left(std::string_view(attributes.text("direction")) == "LEFT") {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    map<int64_t, int64_t, 2>(ctx, call.out[0], {&call.in[0], &call.in[1]}, [this](int64_t x, int64_t bits) {
      return bits > 7 ? 0 : left ? x << bits : x >> bits;
    });
    return 0;
  }
};

int broadcast_type(const Inference &inference) { return broadcast_output(inference, inference.in[0].dtype); }

int mod_output(const Inference &inference) {
  if (!is_float(inference.in[0].dtype) || inference.attributes().integer("fmod") == 1) return broadcast_type(inference);
  return inference.refuse("fmod is 0, it must be 1 for %s", dtype_name(inference.in[0].dtype));
}

int shift_output(const Inference &inference) {
  const std::string_view direction = inference.attributes().text("direction");
  if (direction == "LEFT" || direction == "RIGHT") return broadcast_type(inference);
  return inference.refuse("direction is '%.40s', it must be LEFT or RIGHT", direction.data());
}

constexpr IngotArg in_numbers[] = {input("A", numbers), input("B", "T")};
constexpr IngotArg in_integers[] = {input("A", integers), input("B", "T")};
constexpr IngotArg in_power[] = {input("X", wide_numbers), input("Y", "f32|u8|i8|i32|i64|f16|bf16")};
constexpr IngotArg in_shift[] = {input("X", "T:u8"), input("Y", "T")};
constexpr IngotArg c[] = {output("C", "T", 0)}, z[] = {output("Z", "T", 0)};
constexpr IngotAttr mod_attributes[] = {{"fmod", "int", "0"}};
constexpr IngotAttr shift_attributes[] = {{"direction", "string", nullptr}};

constexpr Infer broadcast = infer_by<broadcast_type>;

constexpr IngotOp rows[] = {
    row("Add", "C = A + B", in_numbers, c, broadcast, kernel<sum, integer_sum>),
    row("Sub", "C = A - B", in_numbers, c, broadcast, kernel<difference, integer_difference>),
    row("Mul", "C = A * B", in_numbers, c, broadcast, kernel<product, integer_product>),
    row("Div", "C = A / B; of integers toward zero, and 0 where B = 0", in_numbers, c, broadcast,
        kernel<quotient, integer_quotient>),
    row("Mod", "C = the rest of A / B, with the sign of B, or of A if fmod = 1; 0 where an integer B = 0", in_numbers,
        c, mod_attributes, infer_by<mod_output>, Naive<Mod>::kernel),
    row("Pow", "Z = X^Y, toward zero for integers", in_power, z, broadcast, NaiveFunction<power>::kernel),
    row("BitwiseAnd", "C = A and B, bit by bit", in_integers, c, broadcast, kernel<nullptr, both>),
    row("BitwiseOr", "C = A or B, bit by bit", in_integers, c, broadcast, kernel<nullptr, either>),
    row("BitwiseXor", "C = either A or B, bit by bit", in_integers, c, broadcast, kernel<nullptr, differing>),
    row("BitShift", "Z = X * 2^Y, or X / 2^Y toward zero, in 8 bits", in_shift, z, shift_attributes,
        infer_by<shift_output>, Naive<BitShift>::kernel),
};

}  // namespace

std::span<const IngotOp> binary_rows() { return rows; }

}  // namespace ingot::standard
