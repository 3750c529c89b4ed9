#include <string_view>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"
#include "ops/standard/strided_copy.h"

namespace ingot::standard {
namespace {

// Elements added before and after each dimension; negative: taken away.
struct Margins {
  int64_t before[INGOT_MAX_RANK] = {}, after[INGOT_MAX_RANK] = {};

  Margins(const HostIntegers &pads, const HostIntegers &axes, bool has_axes, int64_t rank) {
    const int64_t count = pads.count / 2;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t axis = has_axes ? front(axes[i], rank) : i;
      before[axis] = pads[i];
      after[axis] = pads[count + i];
    }
  }
};

void fill(const IngotTensor &out, const IngotTensor *value, IngotCtx *ctx) {
  const int64_t elements = elements_of(out);
  const auto write = [&]<class Number>(Number) {
    Number numbers[block_size] = {};
    if (value) read_elements(value->data, value->dtype, 0, 0, block_size, numbers);
    parallel(ctx, (elements + block_size - 1) / block_size, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * block_size; i < std::min(elements, end * block_size); i += block_size) {
        write_elements(out.data, out.dtype, i, std::min(block_size, elements - i), numbers);
      }
    });
  };
  if (is_float(out.dtype)) write(0.f);
  if (!is_float(out.dtype)) write(int64_t{0});
}

int pad(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &data = call.in[0], &out = call.out[0];
  const bool has_axes = is_present(call, 3);
  const Margins margins(HostIntegers(call.in[1]), has_axes ? HostIntegers(call.in[3]) : HostIntegers(), has_axes,
                        data.rank);
  fill(out, is_present(call, 2) ? &call.in[2] : nullptr, ctx);
  const Strides from(data), to(out);
  StridedCopy copy;
  for (int32_t i = 0; i < data.rank; ++i) {
    const int64_t cut = std::max<int64_t>(0, -margins.before[i]), cut_after = std::max<int64_t>(0, -margins.after[i]);
    copy.from_first += cut * from.at[i];
    copy.to_first += std::max<int64_t>(0, margins.before[i]) * to.at[i];
    copy.add(std::max<int64_t>(0, data.shape[i] - cut - cut_after), from.at[i], to.at[i]);
  }
  copy.run(ctx, data.dtype, data.data, out.data);
  return 0;
}

int pad_output(const Inference &inference) {
  const IngotTensor &data = inference.in[0];
  HostIntegers pads, axes;
  AxisSet set;
  const std::string_view mode = inference.attributes().text("mode");
  if (mode != "constant") return inference.refuse("mode is '%.40s', only 'constant' is computed", mode.data());
  if (!read_host(inference, 1, "pads", pads) || !read_host(inference, 3, "axes", axes)) return 1;
  if (!fit_axes(inference, axes, data.rank, set)) return 1;
  const int64_t padded = inference.has(3) ? axes.count : data.rank;
  if (pads.count != 2 * padded)
    return inference.refuse("pads has %lld numbers, it must have 2 for each of %lld axes", pads.count, padded);
  if (inference.has(2) && elements_of(inference.in[2]) != 1) {
    return inference.refuse("constant_value is [%s], it must be one number", dims_text(inference.in[2]));
  }
  const Margins margins(pads, axes, inference.has(3), data.rank);
  IngotTensor out = data;
  for (int32_t i = 0; i < data.rank; ++i) {
    out.shape[i] = plus(plus(out.shape[i], margins.before[i]), margins.after[i]);
    if (out.shape[i] < 0)
      return inference.refuse("pads take more from data [%s] at axis %lld than there is", dims_text(data), i);
  }
  return inference.give(0, data.dtype, out);
}

constexpr IngotArg in[] = {input("data", any_type), host_input("pads", "i64"), optional(input("constant_value", "T")),
                           optional(host_input("axes", "i32|i64"))};
constexpr IngotArg out[] = {output("output", "T")};
constexpr IngotAttr attributes[] = {{"mode", "string", "constant"}};

constexpr IngotOp rows[] = {
    row("Pad",
        "output = data with pads[i] elements of constant_value, or 0, before and pads[count + i] after axes[i]; "
        "negative ones "
        "cut",
        in, out, attributes, infer_by<pad_output>, NaiveFunction<pad>::kernel),
};

}  // namespace

std::span<const IngotOp> pad_rows() { return rows; }

}  // namespace ingot::standard
