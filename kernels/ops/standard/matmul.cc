#include "ops/standard/broadcast.h"
#include "ops/standard/families.h"
#include "ops/standard/matrix_product.h"

namespace ingot::standard {
namespace {

// Two inputs as matrices, and how their batches broadcast. A vector is a row on the left and a column on the right.
struct Operands {
  int64_t rows, depth, columns, right_depth;
  IngotTensor left{}, right{}, batch{};  // the dimensions of the batches
  bool fits;

  Operands(const IngotTensor &a, const IngotTensor &b) {
    rows = a.rank > 1 ? a.shape[a.rank - 2] : 1;
    depth = a.shape[a.rank - 1];
    right_depth = b.rank > 1 ? b.shape[b.rank - 2] : b.shape[0];
    columns = b.rank > 1 ? b.shape[b.rank - 1] : 1;
    left.rank = std::max(0, a.rank - 2);
    right.rank = std::max(0, b.rank - 2);
    std::copy_n(a.shape, left.rank, left.shape);
    std::copy_n(b.shape, right.rank, right.shape);
    batch = left;
    fits = depth == right_depth && widen(batch, right);
    if (right.rank > 0 || !fits) return;
    // One matrix on the right: the batches of the left are more rows.
    rows *= elements_of(left);
    left.rank = batch.rank = 0;
  }

  // Where batch number i of an input begins, in matrices.
  int64_t place(const IngotTensor &of, int64_t i) const {
    int64_t place = 0, stride = 1;
    for (int32_t k = batch.rank - 1; k >= 0; --k) {
      const int32_t own = k - (batch.rank - of.rank);
      if (own >= 0 && of.shape[own] != 1) place += i % batch.shape[k] * stride;
      if (own >= 0) stride *= of.shape[own];
      i /= batch.shape[k];
    }
    return place;
  }
};

int matmul(const IngotCall &call, IngotCtx *ctx) {
  const IngotTensor &a = call.in[0], &b = call.in[1], &y = call.out[0];
  const Operands given(a, b);
  const ProductSizes sizes{elements_of(given.batch), given.rows, given.columns, given.depth};
  const auto left = [&](int64_t i) {
    return Matrix{a.data, a.dtype, given.place(given.left, i) * sizes.rows * sizes.depth, sizes.depth, 1};
  };
  const auto right = [&](int64_t i) {
    return Matrix{b.data, b.dtype, given.place(given.right, i) * sizes.depth * sizes.columns, sizes.columns, 1};
  };
  const auto finish = [&](int64_t batch, int64_t row, int64_t column, int64_t n, const auto *sums) {
    write_elements(y.data, y.dtype, (batch * sizes.rows + row) * sizes.columns + column, n, sums);
  };
  if (is_float(a.dtype)) multiply(ctx, sizes, left, right, finish);
  if (!is_float(a.dtype)) multiply_integers(ctx, sizes, left, right, finish);
  return 0;
}

int matmul_output(const Inference &inference) {
  const IngotTensor &a = inference.in[0], &b = inference.in[1];
  if (a.rank < 1 || b.rank < 1)
    return inference.refuse("A is [%s] and B [%s], neither may be a scalar", dims_text(a), dims_text(b));
  const Operands given(a, b);
  if (!given.fits) {
    return inference.refuse("A is [%s] and B [%s]: A has %lld columns, B %lld rows, and their batches must broadcast",
                            dims_text(a), dims_text(b), given.depth, given.right_depth);
  }
  IngotTensor out{};
  IngotTensor left = given.left;
  if (b.rank <= 2) left.rank = std::max(0, a.rank - 2);  // its batches have become rows
  if (b.rank <= 2) std::copy_n(a.shape, left.rank, left.shape);
  widen(left, given.right);
  out = left;
  if (a.rank > 1) out.shape[out.rank++] = a.shape[a.rank - 2];
  if (b.rank > 1) out.shape[out.rank++] = given.columns;
  return inference.give(0, a.dtype, out);
}

struct Gemm {
  bool turn_a, turn_b;
  float alpha, beta;

  explicit Gemm(const Attributes &attributes)
      : turn_a(attributes.integer("transA") != 0),
        turn_b(attributes.integer("transB") != 0),
        alpha(attributes.number("alpha")),
        beta(attributes.number("beta")) {}

  static Matrix matrix(const IngotTensor &tensor, bool turned) {
    const int64_t width = tensor.shape[1];
    return {tensor.data, tensor.dtype, 0, turned ? 1 : width, turned ? width : 1};
  }

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &y = call.out[0];
    const bool has_c = is_present(call, 2);
    const ProductSizes sizes{1, y.shape[0], y.shape[1], call.in[0].shape[turn_a ? 0 : 1]};
    const auto finish = [&](int64_t, int64_t row, int64_t column, int64_t n, const float *sums) {
      float added[block_size] = {}, result[block_size];
      if (has_c) read_c(call.in[2], row, column, n, added);
      for (int64_t i = 0; i < n; ++i) result[i] = has_c ? alpha * sums[i] + beta * added[i] : alpha * sums[i];
      write_elements(y.data, y.dtype, row * sizes.columns + column, n, result);
    };
    multiply(
        ctx, sizes, [&](int64_t) { return matrix(call.in[0], turn_a); },
        [&](int64_t) { return matrix(call.in[1], turn_b); }, finish);
    return 0;
  }

  static void read_c(const IngotTensor &c, int64_t row, int64_t column, int64_t n, float *numbers) {
    const int64_t width = c.rank > 0 ? c.shape[c.rank - 1] : 1, height = c.rank > 1 ? c.shape[0] : 1;
    const int64_t first = (height == 1 ? 0 : row * width) + (width == 1 ? 0 : column);
    read_elements(c.data, c.dtype, first, width == 1 ? 0 : 1, n, numbers);
  }
};

int gemm_output(const Inference &inference) {
  const IngotTensor &a = inference.in[0], &b = inference.in[1];
  const Gemm gemm(inference.attributes());
  if (a.rank != 2 || b.rank != 2 || a.shape[gemm.turn_a ? 0 : 1] != b.shape[gemm.turn_b ? 1 : 0]) {
    return inference.refuse(
        "A is [%s] and B [%s] with transA = %lld, transB = %lld: two matrices that can be multiplied are wanted",
        dims_text(a), dims_text(b), gemm.turn_a, gemm.turn_b);
  }
  IngotTensor out{};
  out.rank = 2;
  out.shape[0] = a.shape[gemm.turn_a ? 1 : 0];
  out.shape[1] = b.shape[gemm.turn_b ? 0 : 1];
  IngotTensor wide = out;
  if (inference.has(2) && (!widen(wide, inference.in[2]) || wide.rank != 2 || elements_of(wide) != elements_of(out))) {
    return inference.refuse("C is [%s], which does not broadcast to [%s]", dims_text(inference.in[2]), dims_text(out));
  }
  return inference.give(0, a.dtype, out);
}

constexpr IngotArg in_matmul[] = {input("A", wide_numbers), input("B", "T")}, out[] = {output("Y", "T")};
constexpr IngotArg in_gemm[] = {input("A", floats), input("B", "T"), optional(input("C", "T"))};
constexpr IngotAttr gemm_attributes[] = {
    {"alpha", "float", "1"}, {"beta", "float", "1"}, {"transA", "int", "0"}, {"transB", "int", "0"}};

constexpr IngotOp rows[] = {
    row("MatMul", "Y = A B, as numpy.matmul; sums of floats in float32, from the first to the last", in_matmul, out,
        infer_by<matmul_output>, NaiveFunction<matmul>::kernel),
    row("Gemm", "Y = alpha * A' B' + beta * C, A' and B' transposed where transA and transB say so", in_gemm, out,
        gemm_attributes, infer_by<gemm_output>, Naive<Gemm>::kernel),
};

}  // namespace

std::span<const IngotOp> product_rows() { return rows; }

}  // namespace ingot::standard
