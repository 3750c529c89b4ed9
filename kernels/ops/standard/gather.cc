#include <atomic>
#include <cstring>

#include "ops/standard/families.h"
#include "ops/standard/inference.h"
#include "ops/standard/strided_copy.h"

namespace ingot::standard {
namespace {

// False: one of the indices lies outside of -size … size - 1, and the sentence is said.
bool all_inside(const IngotTensor &indices, int64_t size, IngotCtx *ctx) {
  for (int64_t i = 0, count = elements_of(indices); i < count; ++i) {
    const int64_t index = read_integer(indices.data, indices.dtype, i);
    if (index >= -size && index < size) continue;
    refuse(ctx, "indices has %lld at place %lld; data has the places %lld to %lld there", index, i, -size, size - 1);
    return false;
  }
  return true;
}

struct Gather {
  int64_t axis;

  explicit Gather(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &indices = call.in[1];
    const AxisSizes sizes(data, front(axis, data.rank));
    if (!all_inside(indices, sizes.size, ctx)) return 1;
    const auto *from = static_cast<const uint8_t *>(data.data);
    auto *to = static_cast<uint8_t *>(call.out[0].data);
    const int64_t count = elements_of(indices), bytes = bytes_of_elements(data.dtype, sizes.inner);
    parallel(ctx, sizes.outer * count, (1 << 14) / (bytes + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t place = front(read_integer(indices.data, indices.dtype, i % count), sizes.size);
        std::memcpy(to + i * bytes, from + (i / count * sizes.size + place) * bytes, static_cast<size_t>(bytes));
      }
    });
    return 0;
  }
};

int gather_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0], &indices = inference.in[1];
  int64_t axis = inference.attributes().integer("axis");
  if (!inference.fit_axis(axis, data.rank)) return 1;
  if (data.rank - 1 + indices.rank > INGOT_MAX_RANK) {
    return inference.refuse("data [%s] by indices [%s] has a rank beyond 8", dims_text(data), dims_text(indices));
  }
  IngotTensor out{};
  for (int32_t i = 0; i < axis; ++i) out.shape[out.rank++] = data.shape[i];
  for (int32_t i = 0; i < indices.rank; ++i) out.shape[out.rank++] = indices.shape[i];
  for (auto i = static_cast<int32_t>(axis) + 1; i < data.rank; ++i) out.shape[out.rank++] = data.shape[i];
  return inference.give(0, data.dtype, out);
}

struct GatherElements {
  int64_t axis;

  explicit GatherElements(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &indices = call.in[1];
    const auto along = static_cast<int32_t>(front(axis, data.rank));
    if (!all_inside(indices, data.shape[along], ctx)) return 1;
    const Strides from(data);
    const auto bytes = static_cast<size_t>(bytes_of_elements(data.dtype, 1));
    parallel(ctx, elements_of(indices), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t place = 0, rest = i;
        for (int32_t k = data.rank - 1; k >= 0; --k) {
          const int64_t natural = rest % indices.shape[k];
          rest /= indices.shape[k];
          const int64_t index =
              k == along ? front(read_integer(indices.data, indices.dtype, i), data.shape[k]) : natural;
          place += index * from.at[k];
        }
        std::memcpy(static_cast<uint8_t *>(call.out[0].data) + static_cast<size_t>(i) * bytes,
                    static_cast<const uint8_t *>(data.data) + static_cast<size_t>(place) * bytes, bytes);
      }
    });
    return 0;
  }
};

int gather_elements_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0], &indices = inference.in[1];
  int64_t axis = inference.attributes().integer("axis");
  if (!inference.fit_axis(axis, data.rank)) return 1;
  bool fits = data.rank == indices.rank;
  for (int32_t i = 0; fits && i < data.rank; ++i) fits = i == axis || indices.shape[i] <= data.shape[i];
  if (fits) return inference.give(0, data.dtype, indices);
  return inference.refuse("indices is [%s], it must have the rank of data [%s] and not exceed it but at axis %lld",
                          dims_text(indices), dims_text(data), axis);
}

struct GatherND {
  int64_t batch_dims;

  explicit GatherND(const Attributes &attributes) : batch_dims(attributes.integer("batch_dims")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &indices = call.in[1];
    const Strides stride(data);
    const int64_t depth = indices.shape[indices.rank - 1];
    int64_t slice = 1, batches = 1;
    for (int64_t i = batch_dims + depth; i < data.rank; ++i) slice *= data.shape[i];
    for (int64_t i = 0; i < batch_dims; ++i) batches *= data.shape[i];
    const int64_t tuples = elements_of(indices) / std::max<int64_t>(depth, 1);
    const int64_t batch_size = batches ? elements_of(data) / batches : 0, per_batch = batches ? tuples / batches : 1;
    const int64_t bytes = bytes_of_elements(data.dtype, slice);
    const auto *from = static_cast<const uint8_t *>(data.data);
    auto *to = static_cast<uint8_t *>(call.out[0].data);
    std::atomic<int64_t> outside{-1};
    parallel(ctx, elements_of(call.out[0]) ? tuples : 0, 256, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t place = i / per_batch * batch_size;
        for (int64_t k = 0; k < depth; ++k) {
          const int64_t size = data.shape[batch_dims + k],
                        index = front(read_integer(indices.data, INGOT_I64, i * depth + k), size);
          if (index < 0 || index >= size) return outside.store(i * depth + k);
          place += index * stride.at[batch_dims + k];
        }
        std::memcpy(to + i * bytes, from + place / slice * bytes, static_cast<size_t>(bytes));
      }
    });
    const int64_t bad = outside.load();
    if (bad < 0) return 0;
    return refuse(ctx, "indices has %lld at place %lld, which data does not have",
                  read_integer(indices.data, INGOT_I64, bad), bad);
  }
};

int gather_nd_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0], &indices = inference.in[1];
  const int64_t batches = inference.attributes().integer("batch_dims");
  bool fits = indices.rank >= 1 && data.rank >= 1 && batches >= 0 && batches < std::min(data.rank, indices.rank);
  const int64_t depth = fits ? indices.shape[indices.rank - 1] : 0;
  for (int64_t i = 0; fits && i < batches; ++i) fits = data.shape[i] == indices.shape[i];
  if (!fits || depth < 1 || depth > data.rank - batches) {
    return inference.refuse("indices [%s] with batch_dims = %lld do not fit data [%s]", dims_text(indices), batches,
                            dims_text(data));
  }
  const int64_t rank = indices.rank - 1 + data.rank - batches - depth;
  if (rank > INGOT_MAX_RANK) return inference.refuse("the output would have rank %lld, the most is 8", rank);
  IngotTensor out{};
  for (int32_t i = 0; i + 1 < indices.rank; ++i) out.shape[out.rank++] = indices.shape[i];
  for (int64_t i = batches + depth; i < data.rank; ++i) out.shape[out.rank++] = data.shape[i];
  return inference.give(0, data.dtype, out);
}

constexpr IngotArg in[] = {input("data", whole_bytes), input("indices", indices)};
constexpr IngotArg in_nd[] = {input("data", whole_bytes), input("indices", "i64")};
constexpr IngotArg out[] = {output("output", "T")};
constexpr IngotAttr axis[] = {{"axis", "int", "0"}}, batch_dims[] = {{"batch_dims", "int", "0"}};

constexpr IngotOp rows[] = {
    row("Gather", "output = data at `indices` of axis", in, out, axis, infer_by<gather_output>, Naive<Gather>::kernel),
    row("GatherElements", "output[…, i, …] = data[…, indices[…, i, …], …] at axis", in, out, axis,
        infer_by<gather_elements_output>, Naive<GatherElements>::kernel),
    row("GatherND",
        "output = data at the tuples that the last dimension of indices holds, within each of batch_dims dimensions",
        in_nd, out, batch_dims, infer_by<gather_nd_output>, Naive<GatherND>::kernel),
};

}  // namespace

std::span<const IngotOp> gather_rows() { return rows; }

}  // namespace ingot::standard
