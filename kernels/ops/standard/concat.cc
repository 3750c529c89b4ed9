#include "ops/standard/families.h"
#include "ops/standard/inference.h"
#include "ops/standard/strided_copy.h"

namespace ingot::standard {
namespace {

struct Concat {
  int64_t axis;

  explicit Concat(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &out = call.out[0];
    const AxisSizes whole(out, front(axis, out.rank));
    int64_t first = 0;
    for (int32_t i = 0; i < call.n_in; ++i) {
      const IngotTensor &in = call.in[i];
      const int64_t size = in.shape[front(axis, in.rank)] * whole.inner;
      StridedCopy copy;
      copy.to_first = first;
      copy.add(whole.outer, size, whole.size * whole.inner);
      copy.add(size, 1, 1);
      copy.run(ctx, in.dtype, in.data, out.data);
      first += size;
    }
    return 0;
  }
};

int concat_output(const Inference &inference) {
  IngotTensor out = inference.in[0];
  int64_t axis = inference.attributes().integer("axis");
  if (!inference.fit_axis(axis, out.rank)) return 1;
  for (size_t i = 1; i < inference.in.size(); ++i) {
    const IngotTensor &in = inference.in[i];
    bool fits = in.rank == out.rank;
    for (int32_t k = 0; fits && k < in.rank; ++k) fits = k == axis || in.shape[k] == out.shape[k];
    if (!fits) {
      return inference.refuse("input %lld is [%s] and input 0 [%s]; they may differ at axis %lld only", i,
                              dims_text(in), dims_text(inference.in[0]), axis);
    }
    out.shape[axis] = plus(out.shape[axis], in.shape[axis]);
  }
  return inference.give(0, out.dtype, out);
}

constexpr IngotArg in[] = {variadic(input("inputs", whole_bytes))}, out[] = {output("concat_result", "T")};
constexpr IngotAttr attributes[] = {{"axis", "int", nullptr}};

constexpr IngotOp rows[] = {
    row("Concat", "concat_result = the inputs one behind the other along axis", in, out, attributes,
        infer_by<concat_output>, Naive<Concat>::kernel),
};

}  // namespace

std::span<const IngotOp> concat_rows() { return rows; }

}  // namespace ingot::standard
