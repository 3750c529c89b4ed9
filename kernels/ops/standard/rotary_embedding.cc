#include "ops/standard/elements.h"
#include "ops/standard/families.h"
#include "ops/standard/heads.h"
#include "ops/standard/inference.h"

namespace ingot::standard {
namespace {

struct RotaryEmbedding {
  int64_t heads, dim;
  bool interleaved;

  explicit RotaryEmbedding(const Attributes &attributes)
      : heads(attributes.integer("num_heads")),
        dim(attributes.integer("rotary_embedding_dim")),
        interleaved(attributes.integer("interleaved") != 0) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &x = call.in[0];
    const Heads shape(x, heads);
    const int64_t half = (dim ? dim : shape.size) / 2, tokens = shape.batch * shape.length;
    if (is_present(call, 3)) {
      for (int64_t i = 0; i < tokens; ++i) {
        const int64_t position = read_integer(call.in[3].data, INGOT_I64, i);
        if (position >= 0 && position < call.in[1].shape[0]) continue;
        return refuse(ctx, "position_ids has %lld at place %lld, cos_cache has the positions 0 to %lld", position, i,
                      call.in[1].shape[0] - 1);
      }
    }
    parallel(ctx, tokens * shape.heads, 4096 / (shape.size + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t token = i / shape.heads;
        const int64_t angle = is_present(call, 3) ? read_integer(call.in[3].data, INGOT_I64, token) : token;
        rotate(call, shape.first(token / shape.length, i % shape.heads, token % shape.length), angle * half, half,
               shape.size);
      }
    });
    return 0;
  }

 private:
  void rotate(const IngotCall &call, int64_t first, int64_t angle, int64_t half, int64_t size) const {
    const IngotTensor &x = call.in[0], &y = call.out[0];
    const int64_t step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;
    float a[block_size], b[block_size], cosine[block_size], sine[block_size];
    for (int64_t i = 0; i < half; i += block_size) {
      const int64_t n = std::min(block_size, half - i), place = first + i * step;
      read_elements(x.data, x.dtype, place, step, n, a);
      read_elements(x.data, x.dtype, place + apart, step, n, b);
      read_elements(call.in[1].data, x.dtype, angle + i, 1, n, cosine);
      read_elements(call.in[2].data, x.dtype, angle + i, 1, n, sine);
      for (int64_t k = 0; k < n; ++k) {
        write_float(y.data, y.dtype, place + k * step, cosine[k] * a[k] - sine[k] * b[k]);
        write_float(y.data, y.dtype, place + k * step + apart, sine[k] * a[k] + cosine[k] * b[k]);
      }
    }
    for (int64_t i = 2 * half; i < size; i += block_size) {
      const int64_t n = std::min(block_size, size - i);
      read_elements(x.data, x.dtype, first + i, 1, n, a);
      write_elements(y.data, y.dtype, first + i, n, a);
    }
  }
};

int rotary_output(const Inference &inference) {
  const IngotTensor &x = inference.in[0], &cosine = inference.in[1], &sine = inference.in[2];
  const RotaryEmbedding rotary(inference.attributes());
  if (x.rank != 3 && x.rank != 4) return inference.refuse("X is [%s], it must have rank 3 or 4", dims_text(x));
  if (x.rank == 3 && (rotary.heads < 1 || x.shape[2] % rotary.heads)) {
    return inference.refuse("num_heads is %lld, X [%s] cannot be divided by it", rotary.heads, dims_text(x));
  }
  const Heads shape(x, rotary.heads);
  const int64_t dim = rotary.dim ? rotary.dim : shape.size;
  if (dim < 0 || dim > shape.size || dim % 2) {
    return inference.refuse("rotary_embedding_dim is %lld, it must be even and at most %lld", dim, shape.size);
  }
  const bool by_position = inference.has(3);
  bool fits = cosine.rank == (by_position ? 2 : 3) && cosine.shape[cosine.rank - 1] == dim / 2;
  if (!by_position) fits = fits && cosine.shape[0] == shape.batch && cosine.shape[1] == shape.length;
  fits = fits && cosine.rank == sine.rank && std::equal(cosine.shape, cosine.shape + cosine.rank, sine.shape);
  if (!fits) {
    return inference.refuse("cos_cache is [%s] and sin_cache [%s], both must be [%s%lld]", dims_text(cosine),
                            dims_text(sine), by_position ? "positions," : "batch,length,", dim / 2);
  }
  if (by_position) {
    const IngotTensor &positions = inference.in[3];
    if (positions.rank != 2 || positions.shape[0] != shape.batch || positions.shape[1] != shape.length) {
      return inference.refuse("position_ids is [%s], it must be [%lld,%lld]", dims_text(positions), shape.batch,
                              shape.length);
    }
  }
  return same_as_input(inference);
}

constexpr IngotArg in[] = {input("X", floats), input("cos_cache", "T"), input("sin_cache", "T"),
                           optional(input("position_ids", "i64"))};
constexpr IngotArg out[] = {output("Y", "T", 0)};
constexpr IngotAttr attributes[] = {
    {"interleaved", "int", "0"}, {"num_heads", "int", "0"}, {"rotary_embedding_dim", "int", "0"}};

constexpr IngotOp rows[] = {
    row("RotaryEmbedding",
        "Y = the pairs (a, b) of X, halves or neighbours if interleaved, as (a cos - b sin, a sin + b cos), in "
        "float32",
        in, out, attributes, infer_by<rotary_output>, Naive<RotaryEmbedding>::kernel),
};

}  // namespace

std::span<const IngotOp> rotary_rows() { return rows; }

}  // namespace ingot::standard
