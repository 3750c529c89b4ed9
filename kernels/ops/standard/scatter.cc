#include <cstring>
#include <string_view>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/inference.h"
#include "ops/standard/strided_copy.h"

namespace ingot::standard {
namespace {

// The output begins as the data, where it does not lie on it.
uint8_t *start_from(const IngotTensor &data, const IngotTensor &out) {
  if (data.data != out.data && elements_of(data)) {
    std::memcpy(out.data, data.data, static_cast<size_t>(bytes_of_elements(data.dtype, elements_of(data))));
  }
  return static_cast<uint8_t *>(out.data);
}

int refuse_index(IngotCtx *ctx, int64_t index, int64_t place, int64_t size) {
  return refuse(ctx, "indices has %lld at place %lld; data has the places %lld to %lld there", index, place, -size,
                size - 1);
}

// One after the other, so that of equal indices the last one counts.
int scatter_nd(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &data = call.in[0], &indices = call.in[1], &updates = call.in[2];
  auto *to = start_from(data, call.out[0]);
  const Strides stride(data);
  const int64_t depth = indices.shape[indices.rank - 1];
  int64_t tuples = 1, slice = 1;
  for (int32_t i = 0; i + 1 < indices.rank; ++i) tuples *= indices.shape[i];
  for (int64_t i = depth; i < data.rank; ++i) slice *= data.shape[i];
  const int64_t bytes = bytes_of_elements(data.dtype, slice), element = bytes_of_elements(data.dtype, 1);
  for (int64_t i = 0; i < tuples && slice; ++i) {
    int64_t place = 0;
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t given = read_integer(indices.data, INGOT_I64, i * depth + k), index = front(given, data.shape[k]);
      if (index < 0 || index >= data.shape[k]) return refuse_index(ctx, given, i * depth + k, data.shape[k]);
      place += index * stride.at[k];
    }
    std::memcpy(to + place * element, static_cast<const uint8_t *>(updates.data) + i * bytes,
                static_cast<size_t>(bytes));
  }
  return 0;
}

int scatter_nd_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0], &indices = inference.in[1], &updates = inference.in[2];
  const std::string_view reduction = inference.attributes().text("reduction");
  if (reduction != "none") return inference.refuse("reduction is '%.40s', only 'none' is computed", reduction.data());
  const int64_t depth = indices.rank ? indices.shape[indices.rank - 1] : 0;
  bool fits = depth >= 1 && depth <= data.rank && updates.rank == indices.rank - 1 + data.rank - depth;
  for (int32_t i = 0; fits && i < updates.rank; ++i) {
    fits = updates.shape[i] == (i + 1 < indices.rank ? indices.shape[i] : data.shape[depth + i - (indices.rank - 1)]);
  }
  if (fits) return inference.give(0, data.dtype, data);
  return inference.refuse(
      "data [%s], indices [%s] and updates [%s] do not fit: an update for each tuple of indices is wanted",
      dims_text(data), dims_text(indices), dims_text(updates));
}

struct ScatterElements {
  int64_t axis;

  explicit ScatterElements(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &indices = call.in[1], &updates = call.in[2];
    auto *to = start_from(data, call.out[0]);
    const auto along = static_cast<int32_t>(front(axis, data.rank));
    const Strides stride(data);
    const int64_t bytes = bytes_of_elements(data.dtype, 1), size = data.shape[along];
    for (int64_t i = 0, count = elements_of(indices); i < count; ++i) {
      const int64_t given = read_integer(indices.data, indices.dtype, i), index = front(given, size);
      if (index < 0 || index >= size) return refuse_index(ctx, given, i, size);
      int64_t place = 0, rest = i;
      for (int32_t k = data.rank - 1; k >= 0; --k) {
        place += (k == along ? index : rest % indices.shape[k]) * stride.at[k];
        rest /= indices.shape[k];
      }
      std::memcpy(to + place * bytes, static_cast<const uint8_t *>(updates.data) + i * bytes,
                  static_cast<size_t>(bytes));
    }
    return 0;
  }
};

int scatter_elements_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0], &indices = inference.in[1], &updates = inference.in[2];
  const std::string_view reduction = inference.attributes().text("reduction");
  if (reduction != "none") return inference.refuse("reduction is '%.40s', only 'none' is computed", reduction.data());
  int64_t axis = inference.attributes().integer("axis");
  if (!inference.fit_axis(axis, data.rank)) return 1;
  bool fits = indices.rank == data.rank && updates.rank == data.rank;
  for (int32_t i = 0; fits && i < data.rank; ++i) {
    fits = indices.shape[i] == updates.shape[i] && (i == axis || indices.shape[i] <= data.shape[i]);
  }
  if (fits) return inference.give(0, data.dtype, data);
  return inference.refuse(
      "data is [%s], indices [%s] and updates [%s]: the last two must be alike and within data but at axis %lld",
      dims_text(data), dims_text(indices), dims_text(updates), axis);
}

constexpr IngotArg in_elements[] = {input("data", whole_bytes), input("indices", "i32|i64"), input("updates", "T")};
constexpr IngotArg in_nd[] = {input("data", whole_bytes), input("indices", "i64"), input("updates", "T")};
constexpr IngotArg out[] = {output("output", "T", 0)};
constexpr IngotAttr elements_attributes[] = {{"axis", "int", "0"}, {"reduction", "string", "none"}};
constexpr IngotAttr nd_attributes[] = {{"reduction", "string", "none"}};

constexpr IngotOp rows[] = {
    row("ScatterElements", "output = data, but [indices[…, i, …]] at axis holds updates[…, i, …]", in_elements, out,
        elements_attributes, infer_by<scatter_elements_output>, Naive<ScatterElements>::kernel),
    row("ScatterND", "output = data, but updates at the tuples that the last dimension of indices holds", in_nd, out,
        nd_attributes, infer_by<scatter_nd_output>, NaiveFunction<scatter_nd>::kernel),
};

}  // namespace

std::span<const IngotOp> scatter_rows() { return rows; }

}  // namespace ingot::standard
