#include <cmath>

#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"
#include "ops/standard/sums.h"

namespace ingot::standard {
namespace {

// Calls body(first, n, x) for the blocks of one row of x.
template <class Body>
void each_block(const IngotTensor &x, int64_t row, int64_t width, const Body &body) {
  float block[block_size];
  for (int64_t i = 0; i < width; i += block_size) {
    const int64_t n = std::min(block_size, width - i);
    read_elements(x.data, x.dtype, row * width + i, 1, n, block);
    body(i, n, block);
  }
}

// What multiplies or is added to each row: broadcast over the rows, as in a norm over the last axes, or one for each.
struct PerElement {
  const IngotTensor *tensor;
  int64_t size;

  PerElement(const IngotTensor &given) : tensor(&given), size(elements_of(given)) {}

  void read(int64_t first, int64_t n, float *numbers) const {
    if (size == 1) return read_elements(tensor->data, tensor->dtype, 0, 0, n, numbers);
    read_elements(tensor->data, tensor->dtype, first % size, 1, n, numbers);
  }
};

struct RmsNormalization {
  int64_t axis;
  float epsilon;

  explicit RmsNormalization(const Attributes &attributes)
      : axis(attributes.integer("axis")), epsilon(attributes.number("epsilon")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0], &y = call.out[0];
    const PerElement scale(call.in[1]);
    const AxisSizes sizes(x, front(axis, x.rank));
    const int64_t width = sizes.size * sizes.inner;
    parallel(ctx, sizes.outer, 4096 / (width + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        Sum squares;
        each_block(x, row, width, [&](int64_t, int64_t n, const float *block) {
          squares.add(block, n, [](float number) { return number * number; });
        });
        const float size = std::sqrt(squares.value() / static_cast<float>(width) + epsilon);
        each_block(x, row, width, [&](int64_t first, int64_t n, const float *block) {
          float factors[block_size], result[block_size];
          scale.read(first, n, factors);
          for (int64_t i = 0; i < n; ++i) result[i] = rounded(block[i] / size, x.dtype) * factors[i];
          write_elements(y.data, y.dtype, row * width + first, n, result);
        });
      }
    });
    return 0;
  }
};

struct LayerNormalization {
  int64_t axis;
  float epsilon;

  explicit LayerNormalization(const Attributes &attributes)
      : axis(attributes.integer("axis")), epsilon(attributes.number("epsilon")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const AxisSizes sizes(x, front(axis, x.rank));
    const int64_t width = sizes.size * sizes.inner;
    parallel(ctx, sizes.outer, 4096 / (width + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) normalize(call, row, width);
    });
    return 0;
  }

 private:
  void normalize(const IngotCall &call, int64_t row, int64_t width) const {
    const IngotTensor &x = call.in[0], &y = call.out[0];
    Sum sum, squares;
    each_block(x, row, width,
               [&](int64_t, int64_t n, const float *block) { sum.add(block, n, [](float number) { return number; }); });
    const float mean = sum.value() / static_cast<float>(width);
    each_block(x, row, width, [&](int64_t, int64_t n, const float *block) {
      squares.add(block, n, [mean](float number) { return (number - mean) * (number - mean); });
    });
    const float deviation = std::sqrt(squares.value() / static_cast<float>(width) + epsilon);
    each_block(x, row, width, [&](int64_t first, int64_t n, const float *block) {
      float factors[block_size], result[block_size];
      PerElement(call.in[1]).read(first, n, factors);
      for (int64_t i = 0; i < n; ++i) result[i] = rounded((block[i] - mean) / deviation, x.dtype) * factors[i];
      if (is_present(call, 2)) {
        PerElement(call.in[2]).read(first, n, factors);
        for (int64_t i = 0; i < n; ++i) result[i] = rounded(result[i], x.dtype) + factors[i];
      }
      write_elements(y.data, y.dtype, row * width + first, n, result);
    });
    if (is_wanted(call, 1)) static_cast<float *>(call.out[1].data)[row] = mean;
    if (is_wanted(call, 2)) static_cast<float *>(call.out[2].data)[row] = 1.f / deviation;
  }
};

// Whether input i is one number or as large as the axes that are normalized; false: refused.
bool fits_axes(const Inference &inference, size_t i, const char *name, int64_t axis) {
  if (!inference.has(i)) return true;
  const IngotTensor &x = inference.in[0], &given = inference.in[i];
  const int64_t rank = x.rank - axis;
  bool fits = given.rank <= rank;
  for (int64_t k = 0; fits && k < given.rank; ++k) fits = given.shape[given.rank - 1 - k] == x.shape[x.rank - 1 - k];
  // Dimensions of 1 in front change nothing.
  int64_t missing = 1;
  for (int64_t k = given.rank; k < rank; ++k) missing *= x.shape[x.rank - 1 - k];
  if ((fits && missing == 1) || elements_of(given) == 1) return true;
  inference.refuse("%s is [%s], it must be one number or as X [%s] is from axis %lld on", name, dims_text(given),
                   dims_text(x), axis);
  return false;
}

// The axis, or -1: refused.
int64_t normalized_axis(const Inference &inference) {
  int64_t axis = inference.attributes().integer("axis");
  const int64_t stash = inference.attributes().integer("stash_type");
  if (stash != INGOT_F32) {
    inference.refuse("stash_type is %lld, only 1 (float32) is computed", stash);
    return -1;
  }
  return inference.fit_axis(axis, inference.in[0].rank) ? axis : -1;
}

int rms_output(const Inference &inference) {
  const int64_t axis = normalized_axis(inference);
  if (axis < 0 || !fits_axes(inference, 1, "scale", axis)) return 1;
  return same_as_input(inference);
}

int layer_outputs(const Inference &inference) {
  const int64_t axis = normalized_axis(inference);
  if (axis < 0 || !fits_axes(inference, 1, "Scale", axis) || !fits_axes(inference, 2, "B", axis)) return 1;
  const IngotTensor &x = inference.in[0];
  IngotTensor rows = x;
  std::fill(rows.shape + axis, rows.shape + x.rank, 1);
  inference.give(0, x.dtype, x);
  inference.give(1, INGOT_F32, rows);
  return inference.give(2, INGOT_F32, rows);
}

constexpr IngotArg in_rms[] = {input("X", floats), input("scale", "T")}, out_rms[] = {output("Y", "T", 0)};
constexpr IngotArg in_layer[] = {input("X", floats), input("Scale", "T"), optional(input("B", "T"))};
constexpr IngotArg out_layer[] = {output("Y", "T", 0), output("Mean", "f32"), output("InvStdDev", "f32")};
constexpr IngotAttr attributes[] = {{"axis", "int", "-1"}, {"epsilon", "float", "1e-05"}, {"stash_type", "int", "1"}};

constexpr IngotOp rows[] = {
    row("RMSNormalization",
        "Y = round(X / (mean(X^2) + epsilon)^0.5) * scale over the dimensions from axis on, in float32; round: to "
        "the type of X",
        in_rms, out_rms, attributes, infer_by<rms_output>, Naive<RmsNormalization>::kernel),
    row("LayerNormalization",
        "Y = round(round((X - Mean) * InvStdDev) * Scale) + B, InvStdDev = (mean((X - Mean)^2) + epsilon)^-0.5 "
        "over the dimensions from axis on, in float32; round: to the type of X",
        in_layer, out_layer, attributes, infer_by<layer_outputs>, Naive<LayerNormalization>::kernel),
};

}  // namespace

std::span<const IngotOp> norm_rows() { return rows; }

}  // namespace ingot::standard
