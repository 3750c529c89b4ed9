#include <cmath>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/scale_layout.h"

namespace ingot::standard {
namespace {

// Calls body(first, n, scales, zeros) for blocks of x with the scale and zero point of each element.
template <class Body>
void each_block(const IngotCall &call, int64_t axis, int64_t block, IngotCtx *ctx, const Body &body) {
  const IngotTensor &x = call.in[0], &scale = call.in[1];
  const ScaleLayout layout(x, scale, axis, block);
  const int64_t elements = elements_of(x), blocks = (elements + block_size - 1) / block_size;
  parallel(ctx, blocks, 8, [&](int64_t begin, int64_t end) {
    const int64_t last = std::min(elements, end * block_size);
    for (int64_t first = begin * block_size; first < last;) {
      const auto piece = layout.piece(first, std::min(block_size, last - first));
      float scales[block_size], zeros[block_size] = {};
      read_elements(scale.data, scale.dtype, piece.scale, piece.step, piece.count, scales);
      if (is_present(call, 2)) {
        read_elements(call.in[2].data, call.in[2].dtype, piece.scale, piece.step, piece.count, zeros);
      }
      body(first, piece.count, scales, zeros);
      first += piece.count;
    }
  });
}

struct Ends {
  float low, high;
};

Ends ends_of(int32_t dtype) {
  switch (dtype) {
    case INGOT_U8:
      return {0, 255};
    case INGOT_I8:
      return {-128, 127};
    case INGOT_U4:
      return {0, 15};
    default:
      return {-8, 7};
  }
}

struct Quantize {
  int64_t axis, block, precision;
  bool saturate;

  explicit Quantize(const Attributes &attributes)
      : axis(attributes.integer("axis")),
        block(attributes.integer("block_size")),
        precision(attributes.integer("precision")),
        saturate(attributes.integer("saturate") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &y = call.out[0];
    const auto kind = precision ? static_cast<int32_t>(precision) : call.in[1].dtype;
    const Ends ends = ends_of(y.dtype);
    each_block(call, axis, block, ctx, [&](int64_t first, int64_t n, const float *scales, const float *zeros) {
      float numbers[block_size];
      read_elements(x.data, x.dtype, first, 1, n, numbers);
      for (int64_t i = 0; i < n; ++i) numbers[i] = rounded(rounded(numbers[i], kind) / rounded(scales[i], kind), kind);
      if (is_float(y.dtype)) {
        for (int64_t i = 0; i < n; ++i) numbers[i] += zeros[i];
        return write_elements(y.data, y.dtype, first, n, numbers, saturate);
      }
      int64_t codes[block_size];
      for (int64_t i = 0; i < n; ++i) {
        const float code = std::nearbyint(numbers[i]) + zeros[i];
        codes[i] = static_cast<int64_t>(code < ends.low    ? ends.low
                                        : code > ends.high ? ends.high
                                        : code == code     ? code
                                                           : zeros[i]);
      }
      write_elements(y.data, y.dtype, first, n, codes);
    });
    return 0;
  }
};

int quantize_output(const Inference &inference) {
  if (!fits_scale(inference)) return 1;
  const auto wanted = static_cast<int32_t>(inference.attributes().integer("output_dtype"));
  const auto precision = static_cast<int32_t>(inference.attributes().integer("precision"));
  if (precision && precision != INGOT_F32 && precision != INGOT_F16 && precision != INGOT_BF16) {
    return inference.refuse("precision is %s, it must be f32, f16 or bf16", dtype_name(precision));
  }
  if (inference.has(2) && wanted && wanted != inference.in[2].dtype) {
    return inference.refuse("output_dtype is %s and the zero point %s, they must be one type", dtype_name(wanted),
                            dtype_name(inference.in[2].dtype));
  }
  const int32_t dtype = inference.has(2) ? inference.in[2].dtype : wanted ? wanted : INGOT_U8;
  switch (dtype) {
    case INGOT_U8:
    case INGOT_I8:
    case INGOT_U4:
    case INGOT_I4:
    case INGOT_F8E4M3:
    case INGOT_F8E5M2:
      return inference.give(0, dtype, inference.in[0]);
    default:
      return inference.refuse("output_dtype is %s, it must be u8, i8, u4, i4, f8e4m3 or f8e5m2", dtype_name(dtype));
  }
}

struct Dequantize {
  int64_t axis, block;

  explicit Dequantize(const Attributes &attributes)
      : axis(attributes.integer("axis")), block(attributes.integer("block_size")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &y = call.out[0];
    each_block(call, axis, block, ctx, [&](int64_t first, int64_t n, const float *scales, const float *zeros) {
      float numbers[block_size];
      read_elements(x.data, x.dtype, first, 1, n, numbers);
      for (int64_t i = 0; i < n; ++i) numbers[i] = (numbers[i] - zeros[i]) * scales[i];
      write_elements(y.data, y.dtype, first, n, numbers);
    });
    return 0;
  }
};

int dequantize_output(const Inference &inference) {
  if (!fits_scale(inference)) return 1;
  const auto wanted = static_cast<int32_t>(inference.attributes().integer("output_dtype"));
  if (wanted && wanted != INGOT_F32 && wanted != INGOT_F16 && wanted != INGOT_BF16) {
    return inference.refuse("output_dtype is %s, it must be f32, f16 or bf16", dtype_name(wanted));
  }
  return inference.give(0, wanted ? wanted : inference.in[1].dtype, inference.in[0]);
}

constexpr IngotArg in_quantize[] = {input("x", "f32|i32|f16|bf16"), input("y_scale", "f32|f16|bf16"),
                                    optional(input("y_zero_point", "Z:u8|i8|f8e4m3|f8e5m2|u4|i4"))};
constexpr IngotArg out_quantize[] = {output("y", "u8|i8|f8e4m3|f8e5m2|u4|i4")};
constexpr IngotArg in_dequantize[] = {input("x", "T:u8|i8|i32|f8e4m3|f8e5m2|u4|i4"), input("x_scale", "f32|f16|bf16"),
                                      optional(input("x_zero_point", "T"))};
constexpr IngotArg out_dequantize[] = {output("y", "f32|f16|bf16")};
constexpr IngotAttr quantize_attributes[] = {{"axis", "int", "1"},
                                             {"block_size", "int", "0"},
                                             {"output_dtype", "dtype", ""},
                                             {"saturate", "int", "1"},
                                             {"precision", "dtype", ""}};
constexpr IngotAttr dequantize_attributes[] = {
    {"axis", "int", "1"}, {"block_size", "int", "0"}, {"output_dtype", "dtype", ""}};

constexpr IngotOp rows[] = {
    row("QuantizeLinear",
        "y = round(x / y_scale) + y_zero_point within the range of its type, ties to even; f8: round(x / y_scale); "
        "the quotient has the precision of y_scale, or `precision`",
        in_quantize, out_quantize, quantize_attributes, infer_by<quantize_output>, Naive<Quantize>::kernel),
    row("DequantizeLinear", "y = (x - x_zero_point) * x_scale, in float32", in_dequantize, out_dequantize,
        dequantize_attributes, infer_by<dequantize_output>, Naive<Dequantize>::kernel),
};

}  // namespace

std::span<const IngotOp> quantize_rows() { return rows; }

}  // namespace ingot::standard
