#include <cmath>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/inference.h"
#include "ops/standard/sums.h"

namespace ingot::standard {
namespace {

template <bool logarithm>
struct Softmax {
  int64_t axis;

  explicit Softmax(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const AxisSizes sizes(x, front(axis, x.rank));
    parallel(ctx, sizes.outer * sizes.inner, 4096 / (sizes.size + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        normalize(x, call.out[0], i / sizes.inner * sizes.size * sizes.inner + i % sizes.inner, sizes.inner,
                  sizes.size);
      }
    });
    return 0;
  }

 private:
  // Calls body(place, n, numbers) for the blocks of a line of elements that are `step` apart.
  template <class Body>
  static void each_block(const IngotTensor &x, int64_t first, int64_t step, int64_t count, const Body &body) {
    float numbers[block_size];
    for (int64_t i = 0; i < count; i += block_size) {
      const int64_t n = std::min(block_size, count - i);
      read_elements(x.data, x.dtype, first + i * step, step, n, numbers);
      body(first + i * step, n, numbers);
    }
  }

  static void normalize(const IngotTensor &x, const IngotTensor &y, int64_t first, int64_t step, int64_t count) {
    float largest = -INFINITY;
    each_block(x, first, step, count, [&](int64_t, int64_t n, const float *numbers) {
      for (int64_t i = 0; i < n; ++i) largest = std::fmax(largest, numbers[i]);
    });
    Sum sum;
    each_block(x, first, step, count, [&](int64_t, int64_t n, const float *numbers) {
      sum.add(numbers, n, [largest](float number) { return std::exp(number - largest); });
    });
    const float total = sum.value(), shift = std::log(total);
    each_block(x, first, step, count, [&](int64_t place, int64_t n, float *numbers) {
      for (int64_t i = 0; i < n; ++i) {
        numbers[i] = logarithm ? numbers[i] - largest - shift : std::exp(numbers[i] - largest) / total;
      }
      if (step == 1) return write_elements(y.data, y.dtype, place, n, numbers);
      for (int64_t i = 0; i < n; ++i) write_float(y.data, y.dtype, place + i * step, numbers[i]);
    });
  }
};

int softmax_output(const Inference &inference) {
  int64_t axis = inference.attributes().integer("axis");
  return inference.fit_axis(axis, inference.in[0].rank) ? same_as_input(inference) : 1;
}

constexpr IngotArg in[] = {input("input", floats)}, out[] = {output("output", "T", 0)};
constexpr IngotAttr attributes[] = {{"axis", "int", "-1"}};

constexpr IngotOp rows[] = {
    row("Softmax", "output = e^input / sum(e^input) along axis, in float32", in, out, attributes,
        infer_by<softmax_output>, Naive<Softmax<false>>::kernel),
    row("LogSoftmax", "output = input - ln sum(e^input) along axis, in float32", in, out, attributes,
        infer_by<softmax_output>, Naive<Softmax<true>>::kernel),
};

}  // namespace

std::span<const IngotOp> softmax_rows() { return rows; }

}  // namespace ingot::standard
