#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"
#include "ops/standard/strided_copy.h"

namespace ingot::standard {
namespace {

// Which elements of each dimension are taken.
struct Cut {
  int64_t start[INGOT_MAX_RANK], step[INGOT_MAX_RANK], size[INGOT_MAX_RANK];

  explicit Cut(const IngotTensor &data) {
    for (int32_t i = 0; i < data.rank; ++i) start[i] = 0, step[i] = 1, size[i] = data.shape[i];
  }

  // As ONNX clamps it: negative places count from the end, and what lies outside is cut off.
  void set(int32_t axis, int64_t from, int64_t to, int64_t by) {
    const int64_t n = size[axis];
    const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
    from = std::clamp(from < 0 ? from + n : from, by > 0 ? 0 : std::min<int64_t>(0, high), high);
    to = std::clamp(to < 0 ? to + n : to, low, high + (by < 0));
    start[axis] = from;
    const int64_t span = by > 0 ? to - from : from - to, stride = by > 0 ? by : minus(0, by);
    size[axis] = span > 0 ? (span - 1) / stride + 1 : 0;
    step[axis] = size[axis] > 1 ? by : 1;  // where it is used, it is smaller than the dimension
  }
};

struct SliceInputs {
  HostIntegers starts, ends, axes, steps;
  bool has_axes = false, has_steps = false;

  int64_t axis(int64_t i, int64_t rank) const { return has_axes ? front(axes[i], rank) : i; }
  int64_t step(int64_t i) const { return has_steps ? steps[i] : 1; }

  Cut cut(const IngotTensor &data) const {
    Cut cut(data);
    for (int64_t i = 0; i < starts.count; ++i) {
      cut.set(static_cast<int32_t>(axis(i, data.rank)), starts[i], ends[i], step(i));
    }
    return cut;
  }
};

int slice(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &data = call.in[0], &out = call.out[0];
  SliceInputs given{HostIntegers(call.in[1]), HostIntegers(call.in[2]), {}, {},
                    is_present(call, 3),      is_present(call, 4)};
  if (given.has_axes) given.axes = HostIntegers(call.in[3]);
  if (given.has_steps) given.steps = HostIntegers(call.in[4]);
  const Cut cut = given.cut(data);
  const Strides from(data), to(out);
  StridedCopy copy;
  for (int32_t i = 0; i < data.rank; ++i) {
    copy.from_first += cut.start[i] * from.at[i];
    copy.add(cut.size[i], cut.step[i] * from.at[i], to.at[i]);
  }
  copy.run(ctx, data.dtype, data.data, out.data);
  return 0;
}

int slice_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  SliceInputs given;
  if (!read_host(inference, 1, "starts", given.starts) || !read_host(inference, 2, "ends", given.ends)) return 1;
  if (!read_host(inference, 3, "axes", given.axes) || !read_host(inference, 4, "steps", given.steps)) return 1;
  given.has_axes = inference.has(3);
  given.has_steps = inference.has(4);
  const int64_t count = given.starts.count;
  const bool even = given.ends.count == count && (!given.has_axes || given.axes.count == count) &&
                    (!given.has_steps || given.steps.count == count);
  if (!even || count > data.rank) {
    return inference.refuse("starts, ends, axes and steps must be of one length, at most the rank of data [%s]",
                            dims_text(data));
  }
  AxisSet set;
  if (given.has_axes && !fit_axes(inference, given.axes, data.rank, set)) return 1;
  for (int64_t i = 0; i < count; ++i) {
    if (given.step(i) == 0) return inference.refuse("steps has 0; a step must be positive or negative");
  }
  const Cut cut = given.cut(data);
  IngotTensor out = data;
  std::copy_n(cut.size, data.rank, out.shape);
  return inference.give(0, data.dtype, out);
}

struct Split {
  int64_t axis;

  explicit Split(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &in = call.in[0];
    const AxisSizes sizes(in, front(axis, in.rank));
    int64_t first = 0, left = sizes.size;
    const HostIntegers given = is_present(call, 1) ? HostIntegers(call.in[1]) : HostIntegers();
    const int64_t even = (sizes.size + call.n_out - 1) / call.n_out;
    for (int32_t i = 0; i < call.n_out; ++i) {
      const int64_t size = given.count ? given[i] : std::min(even, left);
      if (is_wanted(call, i)) {
        StridedCopy copy;
        copy.from_first = first * sizes.inner;
        copy.add(sizes.outer, sizes.size * sizes.inner, size * sizes.inner);
        copy.add(size * sizes.inner, 1, 1);
        copy.run(ctx, in.dtype, in.data, call.out[i].data);
      }
      first += size;
      left -= size;
    }
    return 0;
  }
};

int split_outputs(const Inference &inference) {
  const IngotTensor &in = inference.in[0];
  int64_t axis = inference.attributes().integer("axis");
  const int64_t outputs = static_cast<int64_t>(inference.out.size()),
                parts = inference.attributes().integer("num_outputs");
  HostIntegers given;
  if (!inference.fit_axis(axis, in.rank) || !read_host(inference, 1, "split", given)) return 1;
  if (inference.has(1) == (parts != 0))
    return inference.refuse("either split or num_outputs must be given, one of the two");
  if ((parts ? parts : given.count) != outputs) {
    return inference.refuse("it splits into %lld parts, the node has %lld outputs", parts ? parts : given.count,
                            outputs);
  }
  const int64_t even = (in.shape[axis] + outputs - 1) / outputs;
  int64_t left = in.shape[axis];
  IngotTensor out = in;
  for (int64_t i = 0; i < outputs; ++i) {
    out.shape[axis] = parts ? std::min(even, left) : given[i];
    if (out.shape[axis] < 0) return inference.refuse("split has %lld, it must be 0 or more", given[i]);
    left = minus(left, out.shape[axis]);
    inference.give(static_cast<size_t>(i), in.dtype, out);
  }
  if (left == 0) return 0;
  return inference.refuse("split adds up to %lld, input [%s] has %lld at axis %lld", minus(in.shape[axis], left),
                          dims_text(in), in.shape[axis], axis);
}

constexpr IngotArg in_slice[] = {input("data", whole_bytes), host_input("starts", "Tind:i32|i64"),
                                 host_input("ends", "Tind"), optional(host_input("axes", "Tind")),
                                 optional(host_input("steps", "Tind"))};
constexpr IngotArg out_slice[] = {output("output", "T")};
constexpr IngotArg in_split[] = {input("input", whole_bytes), optional(host_input("split", "i64"))};
constexpr IngotArg out_split[] = {variadic(output("outputs", "T"))};
// num_outputs 0: not given.
constexpr IngotAttr split_attributes[] = {{"axis", "int", "0"}, {"num_outputs", "int", "0"}};

constexpr IngotOp rows[] = {
    row("Slice", "output = data from starts[i] by steps[i] until before ends[i] along axes[i]", in_slice, out_slice,
        infer_by<slice_output>, NaiveFunction<slice>::kernel),
    row("Split",
        "outputs = input in pieces of `split` along axis, or in num_outputs pieces of one size, of which the last may "
        "be "
        "smaller",
        in_split, out_split, split_attributes, infer_by<split_outputs>, Naive<Split>::kernel),
};

}  // namespace

std::span<const IngotOp> slice_rows() { return rows; }

}  // namespace ingot::standard
