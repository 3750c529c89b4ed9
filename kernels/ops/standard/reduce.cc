#include <cmath>
#include <limits>

#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/host_integers.h"
#include "ops/standard/sums.h"

namespace ingot::standard {
namespace {

enum class Kind { sum, mean, largest, smallest, product, l2, sum_of_squares };

constexpr bool is_sum(Kind kind) {
  return kind == Kind::sum || kind == Kind::mean || kind == Kind::l2 || kind == Kind::sum_of_squares;
}
constexpr bool squares(Kind kind) { return kind == Kind::l2 || kind == Kind::sum_of_squares; }

struct Limits {
  int64_t low, high;
};

Limits limits_of(int32_t dtype) {
  switch (dtype) {
    case INGOT_BOOL:
      return {0, 1};
    case INGOT_U8:
      return {0, 255};
    case INGOT_I8:
      return {-128, 127};
    case INGOT_I32:
      return {INT32_MIN, INT32_MAX};
    default:
      return {INT64_MIN, INT64_MAX};
  }
}

// What the numbers of one output become, block by block.
template <Kind kind, class Number>
class Folding;

template <Kind kind>
class Folding<kind, float> {
 public:
  explicit Folding(int32_t) {}

  void add(const float *x, int64_t n) {
    if constexpr (is_sum(kind)) {
      sum_.add(x, n, [](float number) { return squares(kind) ? number * number : number; });
    } else {
      for (int64_t i = 0; i < n; ++i) {
        if constexpr (kind == Kind::product) value_ *= x[i];
        if constexpr (kind == Kind::largest) value_ = x[i] > value_ || std::isnan(x[i]) ? x[i] : value_;
        if constexpr (kind == Kind::smallest) value_ = x[i] < value_ || std::isnan(x[i]) ? x[i] : value_;
      }
    }
  }

  float value(int64_t count) const {
    if constexpr (kind == Kind::mean) return sum_.value() / static_cast<float>(count);
    if constexpr (kind == Kind::l2) return std::sqrt(sum_.value());
    return is_sum(kind) ? sum_.value() : value_;
  }

 private:
  Sum sum_;
  float value_ = kind == Kind::product ? 1.f : kind == Kind::largest ? -INFINITY : INFINITY;
};

template <Kind kind>
class Folding<kind, int64_t> {
 public:
  explicit Folding(int32_t dtype) {
    if (kind == Kind::largest) value_ = static_cast<uint64_t>(limits_of(dtype).low);
    if (kind == Kind::smallest) value_ = static_cast<uint64_t>(limits_of(dtype).high);
  }

  // Unsigned: a sum beyond 64 bits loses those above.
  void add(const int64_t *x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      const auto number = static_cast<uint64_t>(x[i]);
      if constexpr (is_sum(kind)) value_ += squares(kind) ? number * number : number;
      if constexpr (kind == Kind::product) value_ *= number;
      if constexpr (kind == Kind::largest) value_ = std::max(x[i], static_cast<int64_t>(value_));
      if constexpr (kind == Kind::smallest) value_ = std::min(x[i], static_cast<int64_t>(value_));
    }
  }

  int64_t value(int64_t count) const {
    const auto value = static_cast<int64_t>(value_);
    if (kind == Kind::mean) return count ? value / count : 0;
    if (kind == Kind::l2) return static_cast<int64_t>(std::sqrt(static_cast<double>(value)));
    return value;
  }

 private:
  uint64_t value_ = kind == Kind::product ? 1 : 0;
};

// Dimensions from the innermost outward; those that lie one behind the other are one.
struct Walk {
  int32_t rank = 0;
  int64_t size[INGOT_MAX_RANK], stride[INGOT_MAX_RANK], count = 1;

  void add(int64_t n, int64_t step) {
    count *= n;
    if (n == 1) return;
    if (rank && step == stride[rank - 1] * size[rank - 1]) {
      size[rank - 1] *= n;
    } else {
      size[rank] = n;
      stride[rank++] = step;
    }
  }

  int64_t place(int64_t index) const {
    int64_t place = 0;
    for (int32_t i = 0; i < rank; ++i) {
      place += index % size[i] * stride[i];
      index /= size[i];
    }
    return place;
  }
};

AxisSet axes_of(const HostIntegers &given, int64_t rank, bool none_is_none) {
  AxisSet set;
  for (const int64_t axis : given.span()) set.bits |= 1u << front(axis, rank);
  if (given.count == 0 && !none_is_none) set.bits = (1u << rank) - 1;
  return set;
}

template <Kind kind, class Number>
void fold(const IngotTensor &x, const IngotTensor &y, const Walk &kept, const Walk &folded, IngotCtx *ctx) {
  const int64_t inner = folded.rank ? folded.size[0] : 1, step = folded.rank ? folded.stride[0] : 1;
  parallel(ctx, kept.count, 4096 / (folded.count + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Folding<kind, Number> folding(x.dtype);
      Number block[block_size];
      const int64_t base = kept.place(i);
      for (int64_t k = 0; k < folded.count;) {
        const int64_t n = std::min(block_size, inner - k % inner);
        read_elements(x.data, x.dtype, base + folded.place(k), step, n, block);
        folding.add(block, n);
        k += n;
      }
      const Number value = folding.value(folded.count);
      write_elements(y.data, y.dtype, i, 1, &value);
    }
  });
}

template <Kind kind>
struct Reduce {
  bool none_is_none;

  explicit Reduce(const Attributes &attributes) : none_is_none(attributes.integer("noop_with_empty_axes") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const AxisSet set = axes_of(is_present(call, 1) ? HostIntegers(call.in[1]) : HostIntegers(), x.rank, none_is_none);
    Walk kept, folded;
    int64_t stride = 1;
    for (int32_t i = x.rank - 1; i >= 0; --i) {
      (set.has(i) ? folded : kept).add(x.shape[i], stride);
      stride *= x.shape[i];
    }
    if (is_float(x.dtype)) fold<kind, float>(x, call.out[0], kept, folded, ctx);
    if (!is_float(x.dtype)) fold<kind, int64_t>(x, call.out[0], kept, folded, ctx);
    return 0;
  }
};

int reduced_output(const Inference &inference) {
  const IngotTensor &x = inference.in[0];
  HostIntegers axes;
  AxisSet named;
  if (!read_host(inference, 1, "axes", axes) || !fit_axes(inference, axes, x.rank, named)) return 1;
  const AxisSet set = axes_of(axes, x.rank, inference.attributes().integer("noop_with_empty_axes") != 0);
  const bool keep = inference.attributes().integer("keepdims") != 0;
  IngotTensor out{};
  for (int32_t i = 0; i < x.rank; ++i) {
    if (!set.has(i)) out.shape[out.rank++] = x.shape[i];
    if (set.has(i) && keep) out.shape[out.rank++] = 1;
  }
  return inference.give(0, x.dtype, out);
}

constexpr IngotArg in[] = {input("data", wide_numbers), optional(host_input("axes", "i64"))};
constexpr IngotArg in_extremes[] = {input("data", whole_bytes), optional(host_input("axes", "i64"))};
constexpr IngotArg out[] = {output("reduced", "T")};
constexpr IngotAttr attributes[] = {{"keepdims", "int", "1"}, {"noop_with_empty_axes", "int", "0"}};

template <Kind kind>
constexpr IngotOp reduction(const char *name, const char *formula, const IngotArg (&inputs)[2]) {
  return row(name, formula, inputs, out, attributes, infer_by<reduced_output>, Naive<Reduce<kind>>::kernel);
}

constexpr IngotOp rows[] = {
    reduction<Kind::sum>("ReduceSum", "reduced = sum(data) over axes, or over all; floats in float32", in),
    reduction<Kind::mean>("ReduceMean", "reduced = sum(data) / count over axes, or over all; integers toward zero", in),
    reduction<Kind::largest>("ReduceMax", "reduced = max(data) over axes, or over all; NaN wins", in_extremes),
    reduction<Kind::smallest>("ReduceMin", "reduced = min(data) over axes, or over all; NaN wins", in_extremes),
    reduction<Kind::product>("ReduceProd", "reduced = the product of data over axes, or over all", in),
    reduction<Kind::l2>("ReduceL2", "reduced = sum(data^2)^0.5 over axes, or over all", in),
    reduction<Kind::sum_of_squares>("ReduceSumSquare", "reduced = sum(data^2) over axes, or over all", in),
};

}  // namespace

std::span<const IngotOp> reduce_rows() { return rows; }

}  // namespace ingot::standard
