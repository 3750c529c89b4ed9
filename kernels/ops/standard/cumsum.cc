#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"

namespace ingot::standard {
namespace {

struct CumSum {
  bool exclusive, reverse;

  explicit CumSum(const Attributes &attributes)
      : exclusive(attributes.integer("exclusive") != 0), reverse(attributes.integer("reverse") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const AxisSizes sizes(x, front(HostIntegers(call.in[1])[0], x.rank));
    parallel(ctx, sizes.outer * sizes.inner, 4096 / (sizes.size + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / sizes.inner * sizes.size * sizes.inner + i % sizes.inner;
        if (is_float(x.dtype)) add_up<float>(x, call.out[0], sizes, first);
        if (!is_float(x.dtype)) add_up<int64_t>(x, call.out[0], sizes, first);
      }
    });
    return 0;
  }

 private:
  template <class Number>
  void add_up(const IngotTensor &x, const IngotTensor &y, const AxisSizes &sizes, int64_t first) const {
    Number sum = 0, number;
    for (int64_t i = 0; i < sizes.size; ++i) {
      const int64_t place = first + (reverse ? sizes.size - 1 - i : i) * sizes.inner;
      read_elements(x.data, x.dtype, place, 0, 1, &number);
      const Number with = sum_of(sum, number), value = exclusive ? sum : with;
      write_elements(y.data, y.dtype, place, 1, &value);
      sum = with;
    }
  }

  static float sum_of(float a, float b) { return a + b; }
  static int64_t sum_of(int64_t a, int64_t b) {  // wraps
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};

int cumsum_output(const Inference &inference) {
  HostIntegers axis;
  if (!read_host(inference, 1, "axis", axis)) return 1;
  if (axis.count != 1) return inference.refuse("axis has %lld numbers, it must be one", axis.count);
  int64_t along = axis[0];
  return inference.fit_axis(along, inference.in[0].rank) ? same_as_input(inference) : 1;
}

constexpr IngotArg in[] = {input("x", wide_numbers), host_input("axis", "i32|i64")}, out[] = {output("y", "T", 0)};
constexpr IngotAttr attributes[] = {{"exclusive", "int", "0"}, {"reverse", "int", "0"}};

constexpr IngotOp rows[] = {
    row("CumSum",
        "y[i] = x[0] + … + x[i] along axis, without x[i] if exclusive, from the end if reverse; floats in float32", in,
        out, attributes, infer_by<cumsum_output>, Naive<CumSum>::kernel),
};

}  // namespace

std::span<const IngotOp> cumsum_rows() { return rows; }

}  // namespace ingot::standard
