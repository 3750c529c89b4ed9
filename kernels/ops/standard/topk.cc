#include <cmath>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"

namespace ingot::standard {
namespace {

// Whether a stands before b: NaN is the largest number, and equals keep their order.
template <class Number>
bool stands_before(Number a, Number b, bool largest) {
  if (a != a || b != b) return largest ? a != a && b == b : a == a && b != b;
  return largest ? a > b : a < b;
}

template <class Number>
Number number_at(const IngotTensor &x, int64_t i) {
  Number number;
  read_elements(x.data, x.dtype, i, 0, 1, &number);
  return number;
}

struct TopK {
  int64_t axis;
  bool largest;

  explicit TopK(const Attributes &attributes)
      : axis(attributes.integer("axis")), largest(attributes.integer("largest") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const AxisSizes sizes(x, front(axis, x.rank));
    const int64_t k = HostIntegers(call.in[1])[0];
    if (k == 0) return 0;
    parallel(ctx, sizes.outer * sizes.inner, 2048 / (sizes.size + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (is_float(x.dtype)) choose<float>(call, sizes, i / sizes.inner, i % sizes.inner, k);
        if (!is_float(x.dtype)) choose<int64_t>(call, sizes, i / sizes.inner, i % sizes.inner, k);
      }
    });
    return 0;
  }

 private:
  // Keeps the k best so far in order, in the output itself.
  template <class Number>
  void choose(const IngotCall &call, const AxisSizes &sizes, int64_t outer, int64_t inner, int64_t k) const {
    const IngotTensor &x = call.in[0], &values = call.out[0];
    const int64_t first = outer * sizes.size * sizes.inner + inner, first_out = outer * k * sizes.inner + inner;
    auto *chosen = static_cast<int64_t *>(call.out[1].data) + first_out;
    const auto number = [&](int64_t i) { return number_at<Number>(x, first + i * sizes.inner); };
    int64_t count = 0;
    Number worst{};
    for (int64_t i = 0; i < sizes.size; ++i) {
      const Number candidate = number(i);
      if (count == k && !stands_before(candidate, worst, largest)) continue;
      int64_t place = count < k ? count++ : k - 1;
      for (; place > 0 && stands_before(candidate, number(chosen[(place - 1) * sizes.inner]), largest); --place) {
        chosen[place * sizes.inner] = chosen[(place - 1) * sizes.inner];
      }
      chosen[place * sizes.inner] = i;
      worst = number(chosen[(count - 1) * sizes.inner]);
    }
    for (int64_t i = 0; i < k; ++i) {
      const Number value = number(chosen[i * sizes.inner]);
      write_elements(values.data, values.dtype, first_out + i * sizes.inner, 1, &value);
    }
  }
};

int topk_outputs(const Inference &inference) {
  const IngotTensor &x = inference.in[0];
  int64_t axis = inference.attributes().integer("axis");
  HostIntegers k;
  if (!inference.fit_axis(axis, x.rank) || !read_host(inference, 1, "K", k)) return 1;
  if (k.count != 1 || k[0] < 0 || k[0] > x.shape[axis]) {
    return inference.refuse("K is %lld (%lld numbers), it must be one from 0 to %lld, as X [%s] has at axis %lld", k[0],
                            k.count, x.shape[axis], dims_text(x), axis);
  }
  if (inference.out.size() != 2)
    return inference.refuse("the node has %lld outputs, it must name both", inference.out.size());
  IngotTensor out = x;
  out.shape[axis] = k[0];
  inference.give(0, x.dtype, out);
  return inference.give(1, INGOT_I64, out);
}

struct ArgMax {
  int64_t axis;
  bool last;

  explicit ArgMax(const Attributes &attributes)
      : axis(attributes.integer("axis")), last(attributes.integer("select_last_index") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const AxisSizes sizes(x, front(axis, x.rank));
    auto *places = static_cast<int64_t *>(call.out[0].data);
    parallel(ctx, sizes.outer * sizes.inner, 4096 / (sizes.size + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / sizes.inner * sizes.size * sizes.inner + i % sizes.inner;
        places[i] = is_float(x.dtype) ? best<float>(x, sizes, first) : best<int64_t>(x, sizes, first);
      }
    });
    return 0;
  }

 private:
  template <class Number>
  int64_t best(const IngotTensor &x, const AxisSizes &sizes, int64_t first) const {
    int64_t place = 0;
    Number found = number_at<Number>(x, first);
    for (int64_t i = 1; i < sizes.size; ++i) {
      const Number candidate = number_at<Number>(x, first + i * sizes.inner);
      if (last ? stands_before(found, candidate, true) : !stands_before(candidate, found, true)) continue;
      place = i;
      found = candidate;
    }
    return place;
  }
};

int argmax_output(const Inference &inference) {
  const IngotTensor &x = inference.in[0];
  int64_t axis = inference.attributes().integer("axis");
  if (!inference.fit_axis(axis, x.rank)) return 1;
  if (x.shape[axis] == 0)
    return inference.refuse("data is [%s], it has no largest element at axis %lld", dims_text(x), axis);
  const bool keep = inference.attributes().integer("keepdims") != 0;
  IngotTensor out{};
  for (int32_t i = 0; i < x.rank; ++i) {
    if (i != axis) out.shape[out.rank++] = x.shape[i];
    if (i == axis && keep) out.shape[out.rank++] = 1;
  }
  return inference.give(0, INGOT_I64, out);
}

constexpr IngotArg in_topk[] = {input("X", numbers), host_input("K", "i64")};
constexpr IngotArg out_topk[] = {output("Values", "T"), output("Indices", "i64")};
constexpr IngotArg in_argmax[] = {input("data", numbers)}, out_argmax[] = {output("reduced", "i64")};
constexpr IngotAttr topk_attributes[] = {{"axis", "int", "-1"}, {"largest", "int", "1"}, {"sorted", "int", "1"}};
constexpr IngotAttr argmax_attributes[] = {
    {"axis", "int", "0"}, {"keepdims", "int", "1"}, {"select_last_index", "int", "0"}};

constexpr IngotOp rows[] = {
    row("TopK",
        "Values = the K largest of X along axis, or the smallest, in order, Indices = their places; of equals the "
        "first "
        "one first, NaN the largest",
        in_topk, out_topk, topk_attributes, infer_by<topk_outputs>, Naive<TopK>::kernel),
    row("ArgMax", "reduced = the place of the largest of data along axis, the first or the last one of equals",
        in_argmax, out_argmax, argmax_attributes, infer_by<argmax_output>, Naive<ArgMax>::kernel),
};

}  // namespace

std::span<const IngotOp> topk_rows() { return rows; }

}  // namespace ingot::standard
