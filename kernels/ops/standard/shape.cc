#include <cstring>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"

namespace ingot::standard {
namespace {

// Which dimensions Shape tells.
struct Window {
  int64_t start, end;

  Window(const Attributes &attributes, int64_t rank)
      : start(attributes.integer("start")), end(attributes.integer("end")) {
    start = std::clamp<int64_t>(front(start, rank), 0, rank);
    end = std::max(start, std::clamp<int64_t>(front(end, rank), 0, rank));
  }
};

struct Shape {
  int64_t start;

  explicit Shape(const Attributes &attributes) : start(attributes.integer("start")) {}

  int run(const IngotCall &call, IngotCtx *) const {
    const IngotTensor &data = call.in[0];
    const int64_t first = std::clamp<int64_t>(front(start, data.rank), 0, data.rank);
    std::copy_n(data.shape + first, call.out[0].shape[0], static_cast<int64_t *>(call.out[0].data));
    return 0;
  }
};

int shape_output(const Inference &inference) {
  const Window window(inference.attributes(), inference.in[0].rank);
  IngotTensor out{};
  out.rank = 1;
  out.shape[0] = window.end - window.start;
  return inference.give(0, INGOT_I64, out);
}

int size(const IngotCall &call, IngotCtx *) {
  *static_cast<int64_t *>(call.out[0].data) = elements_of(call.in[0]);
  return 0;
}

int scalar_integer(const Inference &inference) { return inference.give(0, INGOT_I64, IngotTensor{}); }

int range(const IngotCall &call, IngotCtx *) {
  const IngotTensor &out = call.out[0];
  const int64_t start = HostIntegers(call.in[0])[0], delta = HostIntegers(call.in[2])[0];
  for (int64_t i = 0; i < out.shape[0]; ++i) write_integer(out.data, out.dtype, i, start + i * delta);
  return 0;
}

int range_output(const Inference &inference) {
  HostIntegers start, limit, delta;
  if (!read_host(inference, 0, "start", start) || !read_host(inference, 1, "limit", limit)) return 1;
  if (!read_host(inference, 2, "delta", delta)) return 1;
  if (start.count != 1 || limit.count != 1 || delta.count != 1 || delta[0] == 0) {
    return inference.refuse("start, limit and delta must be one number each, and delta not 0");
  }
  const int64_t span = minus(limit[0], start[0]), step = delta[0];
  const auto length = [](int64_t x) { return x < 0 ? minus(0, x) : x; };
  IngotTensor out{};
  out.rank = 1;
  out.shape[0] = (span < 0) != (step < 0) || span == 0 ? 0 : (length(span) - 1) / length(step) + 1;
  return inference.give(0, inference.in[0].dtype, out);
}

int zeros(const IngotCall &call, IngotCtx *) {
  std::memset(call.out[0].data, 0, sizeof(float) * static_cast<size_t>(elements_of(call.out[0])));
  return 0;
}

int zeros_output(const Inference &inference) {
  HostIntegers sizes;
  if (!read_host(inference, 0, "input", sizes)) return 1;
  IngotTensor out{};
  for (const int64_t size : sizes.span()) {
    if (size < 0 || out.rank == INGOT_MAX_RANK)
      return inference.refuse("input has %lld; it holds at most 8 sizes of 0 or more", size);
    out.shape[out.rank++] = size;
  }
  return inference.give(0, INGOT_F32, out);
}

constexpr IngotArg in_data[] = {input("data", any_type)}, out_shape[] = {output("shape", "i64")},
                   out_size[] = {output("size", "i64")};
constexpr IngotArg in_range[] = {host_input("start", "T:i32|i64"), host_input("limit", "T"), host_input("delta", "T")};
constexpr IngotArg out_range[] = {output("output", "T")};
constexpr IngotArg in_zeros[] = {host_input("input", "i64")}, out_zeros[] = {output("output", "f32")};
// end: as ONNX counts if it is not given, behind the last dimension.
constexpr IngotAttr shape_attributes[] = {{"start", "int", "0"}, {"end", "int", "9223372036854775807"}};

constexpr IngotOp rows[] = {
    row("Shape", "shape = the sizes of data's dimensions from start to before end", in_data, out_shape,
        shape_attributes, infer_by<shape_output>, Naive<Shape>::kernel),
    row("Size", "size = the number of data's elements", in_data, out_size, infer_by<scalar_integer>,
        NaiveFunction<size>::kernel),
    row("Range", "output = start, start + delta, … before limit; of constants", in_range, out_range,
        infer_by<range_output>, NaiveFunction<range>::kernel),
    row("ConstantOfShape", "output = zeros in float32 of the shape `input`", in_zeros, out_zeros,
        infer_by<zeros_output>, NaiveFunction<zeros>::kernel),
};

}  // namespace

std::span<const IngotOp> shape_rows() { return rows; }

}  // namespace ingot::standard
