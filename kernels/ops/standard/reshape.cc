#include <cstring>

#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"

namespace ingot::standard {
namespace {

// The elements stay in their order; where the output lies on the input there is nothing to do.
int same_elements(const IngotCall &call, IngotCtx *) {
  const IngotTensor &in = call.in[0], &out = call.out[0];
  if (in.data != out.data && in.data) {
    std::memmove(out.data, in.data, static_cast<size_t>(bytes_of_elements(in.dtype, elements_of(in))));
  }
  return 0;
}

int reshape_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  HostIntegers shape;
  if (!read_host(inference, 1, "shape", shape)) return 1;
  const bool keep_zero = inference.attributes().integer("allowzero") != 0;
  IngotTensor out{};
  if (shape.count > INGOT_MAX_RANK) return inference.refuse("shape has %lld sizes, the most are 8", shape.count);
  int64_t known = 1, open = -1;
  for (const int64_t size : shape.span()) {
    const int32_t i = out.rank++;
    if (size < -1 || (size == -1 && open >= 0)) {
      return inference.refuse("shape has %lld at %lld; sizes are 0 or more, and one at most is -1", size, i);
    }
    if (size == 0 && !keep_zero && i >= data.rank)
      return inference.refuse("shape has 0 at %lld, data [%s] has no such dimension", i, dims_text(data));
    out.shape[i] = size == 0 && !keep_zero ? data.shape[i] : size;
    if (size == -1) open = i;
    if (size != -1) known = times(known, out.shape[i]);
  }
  const int64_t elements = elements_of(data);
  if (open >= 0 && known == 0)
    return inference.refuse("shape has both 0 and -1, so that the size at %lld is open", open);
  if (open >= 0) out.shape[open] = elements / known;
  if (times(known, open >= 0 ? out.shape[open] : 1) != elements) {
    return inference.refuse("data is [%s], that are %lld elements; they do not fit into [%s]", dims_text(data),
                            elements, dims_text(out));
  }
  return inference.give(0, data.dtype, out);
}

int squeeze_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  HostIntegers axes;
  AxisSet set;
  if (!read_host(inference, 1, "axes", axes) || !fit_axes(inference, axes, data.rank, set)) return 1;
  IngotTensor out{};
  for (int32_t i = 0; i < data.rank; ++i) {
    if (set.has(i) && data.shape[i] != 1) {
      return inference.refuse("axes name %lld, data is [%s]; only dimensions of 1 can be taken away", i,
                              dims_text(data));
    }
    if (inference.has(1) ? set.has(i) : data.shape[i] == 1) continue;
    out.shape[out.rank++] = data.shape[i];
  }
  return inference.give(0, data.dtype, out);
}

int unsqueeze_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  HostIntegers axes;
  AxisSet set;
  if (!read_host(inference, 1, "axes", axes)) return 1;
  const int64_t rank = data.rank + axes.count;
  if (rank > INGOT_MAX_RANK) return inference.refuse("the output would have rank %lld, the most is 8", rank);
  if (!fit_axes(inference, axes, rank, set)) return 1;
  IngotTensor out{};
  for (int32_t next = 0; out.rank < rank; ++out.rank) out.shape[out.rank] = set.has(out.rank) ? 1 : data.shape[next++];
  return inference.give(0, data.dtype, out);
}

int flatten_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  int64_t axis = inference.attributes().integer("axis");
  // The axis may also stand behind the last dimension.
  if (axis != data.rank && !(data.rank == 0 && axis == 0) && !inference.fit_axis(axis, data.rank)) return 1;
  IngotTensor out{};
  out.rank = 2;
  out.shape[0] = out.shape[1] = 1;
  for (int32_t i = 0; i < data.rank; ++i) out.shape[i >= axis] *= data.shape[i];
  return inference.give(0, data.dtype, out);
}

constexpr IngotArg in_identity[] = {input("input", any_type)}, out_identity[] = {output("output", "T", 0)};
constexpr IngotArg in_reshape[] = {input("data", any_type), host_input("shape", "i64")};
constexpr IngotArg in_squeeze[] = {input("data", any_type), optional(host_input("axes", "i64"))};
constexpr IngotArg in_unsqueeze[] = {input("data", any_type), host_input("axes", "i64")};
constexpr IngotArg reshaped[] = {output("reshaped", "T", 0)}, squeezed[] = {output("squeezed", "T", 0)};
constexpr IngotArg expanded[] = {output("expanded", "T", 0)};
constexpr IngotAttr reshape_attributes[] = {{"allowzero", "int", "0"}};
constexpr IngotAttr flatten_attributes[] = {{"axis", "int", "1"}};

constexpr const IngotKernel &kernel = NaiveFunction<same_elements>::kernel;

constexpr IngotOp rows[] = {
    row("Identity", "output = input", in_identity, out_identity, infer_by<same_as_input>, kernel),
    row("Reshape", "reshaped = data, in order, as [shape]; 0 keeps a size unless allowzero, -1 is what remains",
        in_reshape, reshaped, reshape_attributes, infer_by<reshape_output>, kernel),
    row("Squeeze", "squeezed = data without the dimensions `axes`, or without all of size 1", in_squeeze, squeezed,
        infer_by<squeeze_output>, kernel),
    row("Unsqueeze", "expanded = data with dimensions of size 1 at `axes` of the output", in_unsqueeze, expanded,
        infer_by<unsqueeze_output>, kernel),
    row("Flatten", "output = input as a matrix: the dimensions before axis by the others", in_identity, out_identity,
        flatten_attributes, infer_by<flatten_output>, kernel),
};

}  // namespace

std::span<const IngotOp> reshape_rows() { return rows; }

}  // namespace ingot::standard
