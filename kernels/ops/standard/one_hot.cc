#include <cstring>

#include "ops/standard/families.h"
#include "ops/standard/inference.h"

namespace ingot::standard {
namespace {

struct OneHot {
  int64_t axis;

  explicit OneHot(const Attributes &attributes) : axis(attributes.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &indices = call.in[0], &values = call.in[2], &out = call.out[0];
    const AxisSizes sizes(out, front(axis, out.rank));
    const auto bytes = static_cast<size_t>(bytes_of_elements(out.dtype, 1));
    parallel(ctx, elements_of(out), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t place = i / sizes.inner % sizes.size,
                      of = i / sizes.inner / sizes.size * sizes.inner + i % sizes.inner;
        const bool on = front(read_integer(indices.data, indices.dtype, of), sizes.size) == place;
        std::memcpy(static_cast<uint8_t *>(out.data) + static_cast<size_t>(i) * bytes,
                    static_cast<const uint8_t *>(values.data) + (on ? bytes : 0), bytes);
      }
    });
    return 0;
  }
};

int one_hot_output(const Inference &inference) {
  const IngotTensor &indices = inference.in[0], &depth = inference.in[1], &values = inference.in[2];
  int64_t axis = inference.attributes().integer("axis");
  if (indices.rank == INGOT_MAX_RANK)
    return inference.refuse("indices is [%s], the output would have rank 9", dims_text(indices));
  if (!inference.fit_axis(axis, indices.rank + 1)) return 1;
  if (elements_of(depth) != 1 || elements_of(values) != 2) {
    return inference.refuse("depth is [%s] and values [%s], they must be one number and two", dims_text(depth),
                            dims_text(values));
  }
  const int64_t size = read_integer(depth.data, depth.dtype, 0);
  if (size < 0) return inference.refuse("depth is %lld, it must be 0 or more", size);
  IngotTensor out{};
  for (int32_t i = 0; out.rank <= indices.rank; ++out.rank)
    out.shape[out.rank] = out.rank == axis ? size : indices.shape[i++];
  return inference.give(0, values.dtype, out);
}

constexpr IngotArg in[] = {input("indices", "u8|i8|i32|i64"), host_input("depth", "i32|i64"),
                           input("values", "T:f32|u8|i8|i32|i64|bool|f16")};
constexpr IngotArg out[] = {output("output", "T")};
constexpr IngotAttr attributes[] = {{"axis", "int", "-1"}};

constexpr IngotOp rows[] = {
    row("OneHot", "output = values[1] at the place of indices in a new dimension of `depth` at axis, else values[0]",
        in, out, attributes, infer_by<one_hot_output>, Naive<OneHot>::kernel),
};

}  // namespace

std::span<const IngotOp> one_hot_rows() { return rows; }

}  // namespace ingot::standard
