#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"
#include "ops/standard/strided_copy.h"

namespace ingot::standard {
namespace {

struct Transpose {
  int32_t perm[INGOT_MAX_RANK];
  bool reversed;  // no perm: the dimensions in reverse

  explicit Transpose(const Attributes &attributes) {
    const auto given = attributes.integers("perm");
    reversed = given.empty();
    for (size_t i = 0; i < given.size() && i < INGOT_MAX_RANK; ++i) perm[i] = static_cast<int32_t>(given[i]);
  }

  int32_t source(int32_t i, int32_t rank) const { return reversed ? rank - 1 - i : perm[i]; }

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &in = call.in[0], &out = call.out[0];
    const Strides from(in), to(out);
    StridedCopy copy;
    for (int32_t i = 0; i < out.rank; ++i) copy.add(out.shape[i], from.at[source(i, in.rank)], to.at[i]);
    copy.run(ctx, in.dtype, in.data, out.data);
    return 0;
  }
};

int transpose_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  const auto perm = inference.attributes().integers("perm");
  if (!perm.empty() && static_cast<int32_t>(perm.size()) != data.rank) {
    return inference.refuse("perm has %lld axes, data [%s] has %lld", perm.size(), dims_text(data), data.rank);
  }
  AxisSet set;
  for (const int64_t axis : perm) {
    if (axis < 0 || axis >= data.rank || set.has(axis)) {
      return inference.refuse("perm has %lld; it must name each axis from 0 to %lld once", axis, data.rank - 1);
    }
    set.bits |= 1u << axis;
  }
  const Transpose transpose(inference.attributes());
  IngotTensor out = data;
  for (int32_t i = 0; i < data.rank; ++i) out.shape[i] = data.shape[transpose.source(i, data.rank)];
  return inference.give(0, data.dtype, out);
}

int expand(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &in = call.in[0], &out = call.out[0];
  const Strides from(in), to(out);
  StridedCopy copy;
  for (int32_t i = 0; i < out.rank; ++i) {
    const int32_t place = i - (out.rank - in.rank);
    copy.add(out.shape[i], place < 0 || in.shape[place] == 1 ? 0 : from.at[place], to.at[i]);
  }
  copy.run(ctx, in.dtype, in.data, out.data);
  return 0;
}

int expand_output(const Inference &inference) {
  HostIntegers sizes;
  if (!read_host(inference, 1, "shape", sizes)) return 1;
  IngotTensor wanted{}, shape = inference.in[0];
  for (const int64_t size : sizes.span()) {
    if (size < 0 || wanted.rank == INGOT_MAX_RANK)
      return inference.refuse("shape has %lld; it holds at most 8 sizes of 0 or more", size);
    wanted.shape[wanted.rank++] = size;
  }
  if (!widen(shape, wanted)) {
    return inference.refuse("input is [%s], which does not broadcast with the shape [%s]", dims_text(inference.in[0]),
                            dims_text(wanted));
  }
  return inference.give(0, inference.in[0].dtype, shape);
}

int repeat(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &in = call.in[0], &out = call.out[0];
  const Strides from(in), to(out);
  const HostIntegers repeats(call.in[1]);
  StridedCopy copy;
  for (int32_t i = 0; i < in.rank; ++i) {
    copy.add(repeats[i], 0, in.shape[i] * to.at[i]);
    copy.add(in.shape[i], from.at[i], to.at[i]);
  }
  copy.run(ctx, in.dtype, in.data, out.data);
  return 0;
}

int tile_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  HostIntegers repeats;
  if (!read_host(inference, 1, "repeats", repeats)) return 1;
  if (repeats.count != data.rank) {
    return inference.refuse("repeats has %lld numbers, input [%s] has %lld dimensions", repeats.count, dims_text(data),
                            data.rank);
  }
  IngotTensor out = data;
  for (int32_t i = 0; i < data.rank; ++i) {
    if (repeats[i] < 0) return inference.refuse("repeats has %lld, it must be 0 or more", repeats[i]);
    out.shape[i] = times(out.shape[i], repeats[i]);
  }
  return inference.give(0, data.dtype, out);
}

constexpr IngotArg in_transpose[] = {input("data", any_type)}, transposed[] = {output("transposed", "T")};
constexpr IngotArg in_expand[] = {input("input", whole_bytes), host_input("shape", "i64")};
constexpr IngotArg in_tile[] = {input("input", whole_bytes), host_input("repeats", "i64")};
constexpr IngotArg out[] = {output("output", "T")};
constexpr IngotAttr transpose_attributes[] = {{"perm", "ints", ""}};

constexpr IngotOp rows[] = {
    row("Transpose", "transposed = data with dimension perm[i] as dimension i; without perm in reverse", in_transpose,
        transposed, transpose_attributes, infer_by<transpose_output>, Naive<Transpose>::kernel),
    row("Expand", "output = input broadcast with `shape`", in_expand, out, infer_by<expand_output>,
        NaiveFunction<expand>::kernel),
    row("Tile", "output = input, repeats[i] times along dimension i", in_tile, out, infer_by<tile_output>,
        NaiveFunction<repeat>::kernel),
};

}  // namespace

std::span<const IngotOp> transpose_rows() { return rows; }

}  // namespace ingot::standard
