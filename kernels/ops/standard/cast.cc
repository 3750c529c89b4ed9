#include <algorithm>
#include <cmath>

#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"

namespace ingot::standard {
namespace {

struct Range {
  double low, high;
};

// The float32 numbers nearest to 2^63 lie outside of int64: `high` is the largest that does not.
Range range_of(int32_t dtype) {
  switch (dtype) {
    case INGOT_U8:
      return {0, 255};
    case INGOT_I8:
      return {-128, 127};
    case INGOT_I32:
      return {-0x1p31, 0x1p31 - 1};
    case INGOT_I64:
      return {-0x1p63, 0x1p63 - 1024};
    case INGOT_U4:
      return {0, 15};
    default:
      return {-8, 7};
  }
}

// Toward zero; what is out of range becomes the nearest end of it, and NaN 0. ONNX leaves both open.
void cast_to_integers(const IngotTensor &x, const IngotTensor &y, IngotCtx *ctx) {
  const auto [low, high] = range_of(y.dtype);
  map<float, int64_t, 1>(ctx, y, {&x},
                         [low = low, high = high, top = y.dtype == INGOT_I64 ? INT64_MAX : 0](float number) {
                           if (std::isnan(number)) return int64_t{0};
                           if (top && number >= 0x1p63f) return int64_t{top};
                           return static_cast<int64_t>(std::clamp(double{number}, low, high));
                         });
}

int cast(const IngotTensor &x, const IngotTensor &y, bool saturate, IngotCtx *ctx) {
  if (!is_float(x.dtype) && !is_float(y.dtype)) {
    map<int64_t, int64_t, 1>(ctx, y, {&x}, [](int64_t number) { return number; });
  } else if (y.dtype == INGOT_BOOL) {
    map<float, int64_t, 1>(ctx, y, {&x}, [](float number) { return int64_t{number != 0}; });
  } else if (!is_float(y.dtype)) {
    cast_to_integers(x, y, ctx);
  } else {
    Broadcast<1>(y, {&x}).run(ctx, [&](int64_t first, int64_t n, const int64_t (&)[1]) {
      float numbers[block_size];
      read_elements(x.data, x.dtype, first, 1, n, numbers);
      write_elements(y.data, y.dtype, first, n, numbers, saturate);
    });
  }
  return 0;
}

// Cast and CastLike.
struct Cast {
  bool saturate;

  explicit Cast(const Attributes &attributes) : saturate(attributes.integer("saturate") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const { return cast(call.in[0], call.out[0], saturate, ctx); }
};

int cast_output(const Inference &inference) {
  const auto to = static_cast<int32_t>(inference.attributes().integer("to"));
  if (to == 0) return inference.refuse("to is empty, it must be a type");
  return inference.give(0, to, inference.in[0]);
}

int cast_like_output(const Inference &inference) { return inference.give(0, inference.in[1].dtype, inference.in[0]); }

constexpr IngotArg in_cast[] = {input("input", "f32|u8|i8|i32|i64|bool|f16|bf16|f8e4m3|f8e5m2|u4|i4")};
constexpr IngotArg in_like[] = {in_cast[0], input("target_type", any_type)};
constexpr IngotArg out_cast[] = {output("output", "=to", 0)}, out_like[] = {output("output", "T", 0)};
constexpr IngotAttr cast_attributes[] = {
    {"to", "dtype", nullptr}, {"saturate", "int", "1"}, {"round_mode", "string", "up"}};  // round_mode: of f8e8m0 only
constexpr IngotAttr like_attributes[] = {{"saturate", "int", "1"}, {"round_mode", "string", "up"}};

constexpr IngotOp rows[] = {
    row("Cast",
        "output = input as the type `to`: floats toward zero and within the range of an integer type, integers by "
        "their "
        "low bits",
        in_cast, out_cast, cast_attributes, infer_by<cast_output>, Naive<Cast>::kernel),
    row("CastLike", "output = input as the type of target_type; see Cast", in_like, out_like, like_attributes,
        infer_by<cast_like_output>, Naive<Cast>::kernel),
};

}  // namespace

std::span<const IngotOp> cast_rows() { return rows; }

}  // namespace ingot::standard
