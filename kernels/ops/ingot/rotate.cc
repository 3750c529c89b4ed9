// Rotate: the row and its definition.
#include <cstring>

#include "ops/ingot/float_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

enum Input { x_TD, cos_LR, sin_LR, positions_T };

// How many elements of a head are turned.
int64_t turned(int64_t dims, int64_t head) { return dims ? dims : head; }

int infer(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const IngotHost *host = ctx->host;
  const int64_t heads = host->attr_int(node, "heads"), dims = host->attr_int(node, "dims");
  const int64_t interleaved = host->attr_int(node, "interleaved"), D = in[x_TD].shape[1], R = in[cos_LR].shape[1];
  if (n_out != 1) return host->error(ctx, "%d outputs are asked for; it has 1", n_out);
  if (heads < 1 || D % heads) {
    return host->error(ctx, "x is %lld wide, which %lld heads do not share evenly", static_cast<long long>(D),
                       static_cast<long long>(heads));
  }
  const int64_t count = turned(dims, D / heads);
  if (count < 0 || count % 2 || count > D / heads) {
    return host->error(ctx, "%lld elements of a head are to be turned; it must be an even number up to the head's %lld",
                       static_cast<long long>(count), static_cast<long long>(D / heads));
  }
  if (R != count / 2) {
    return host->error(ctx, "cos and sin have %lld columns; %lld elements of a head make %lld pairs",
                       static_cast<long long>(R), static_cast<long long>(count), static_cast<long long>(count / 2));
  }
  if (interleaved != 0 && interleaved != 1) {
    return host->error(ctx, "attribute interleaved is %lld; it is 0 or 1", static_cast<long long>(interleaved));
  }
  describe(out[0], in[x_TD].dtype, {in[x_TD].shape[0], D});
  return 0;
}

struct Kept {
  int64_t heads, dims;
  bool interleaved;
};

int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  const IngotHost *host = ctx->host;
  const Kept kept{host->attr_int(node, "heads"), host->attr_int(node, "dims"),
                  host->attr_int(node, "interleaved") != 0};
  return keep(kept, node, ctx, self);
}

struct Work {
  const IngotCall &call;
  const Kept &kept;
};

constexpr int64_t pairs_size = piece_size / 2;

// `count` pairs: cos a - sin b, sin a + cos b.
void turn(float *a, float *b, const float *cos, const float *sin, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float real = cos[i] * a[i] - sin[i] * b[i], imaginary = sin[i] * a[i] + cos[i] * b[i];
    a[i] = real;
    b[i] = imaginary;
  }
}

// The head whose elements begin at `first`; R pairs: of neighbours, or of its first and second half.
void turn_head(const IngotTensor &x, const IngotTensor &y, int64_t first, int64_t R, bool interleaved, const float *cos,
               const float *sin) {
  float a[pairs_size], b[pairs_size], both[piece_size];
  for (int64_t r = 0; r < R; r += pairs_size) {
    const int64_t count = std::min(pairs_size, R - r);
    if (interleaved) {
      read_floats(x.data, x.dtype, first + 2 * r, 2 * count, both);
      for (int64_t i = 0; i < count; ++i) a[i] = both[2 * i], b[i] = both[2 * i + 1];
    } else {
      read_floats(x.data, x.dtype, first + r, count, a);
      read_floats(x.data, x.dtype, first + R + r, count, b);
    }
    turn(a, b, cos + r, sin + r, count);
    if (interleaved) {
      for (int64_t i = 0; i < count; ++i) both[2 * i] = a[i], both[2 * i + 1] = b[i];
      write_floats(both, 2 * count, y.data, y.dtype, first + 2 * r);
    } else {
      write_floats(a, count, y.data, y.dtype, first + r);
      write_floats(b, count, y.data, y.dtype, first + R + r);
    }
  }
}

void rotate_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<const Work *>(arg);
  const IngotTensor *in = work.call.in, &x = in[x_TD], &y = work.call.out[0];
  const int64_t D = x.shape[1], R = in[cos_LR].shape[1], head = D / work.kept.heads,
                size = x.dtype == INGOT_F32 ? 4 : 2;
  for (int64_t t = begin; t < end; ++t) {
    const int64_t position = static_cast<const int32_t *>(in[positions_T].data)[t];
    const float *cos = static_cast<const float *>(in[cos_LR].data) + position * R;
    const float *sin = static_cast<const float *>(in[sin_LR].data) + position * R;
    for (int64_t first = t * D; first < (t + 1) * D; first += head) {
      turn_head(x, y, first, R, work.kept.interleaved, cos, sin);
      const int64_t rest = first + 2 * R;  // what is not turned
      if (x.data == y.data || 2 * R == head) continue;
      std::memcpy(static_cast<char *>(y.data) + rest * size, static_cast<const char *>(x.data) + rest * size,
                  static_cast<size_t>((head - 2 * R) * size));
    }
  }
}

int check_positions(const IngotCall &call, IngotCtx *ctx) {
  const auto *positions = static_cast<const int32_t *>(call.in[positions_T].data);
  const int64_t L = call.in[cos_LR].shape[0];
  for (int64_t t = 0; t < call.in[x_TD].shape[0]; ++t) {
    if (positions[t] >= 0 && positions[t] < L) continue;
    return ctx->host->error(ctx, "token %lld is at position %d; cos and sin have rows for positions 0 to %lld",
                            static_cast<long long>(t), positions[t], static_cast<long long>(L - 1));
  }
  return 0;
}

template <Instructions set>
int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  if (const int status = check_positions(*call, ctx)) return status;
  const IngotTensor &x = call->in[x_TD];
  Work work{*call, *static_cast<const Kept *>(self)};
  ctx->host->parallel_for(ctx, x.shape[0], units_per_part(0.4 * static_cast<double>(x.shape[1])),
                          compiled_for<set, rotate_part>(), &work);
  return 0;
}

constexpr IngotArg inputs[] = {{"x", "T D", "X:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1},
                               {"cos", "L R", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"sin", "L R", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"positions", "T", "i32", INGOT_STEP, 0, 0, -1}};
constexpr IngotArg outputs[] = {{"y", "T D", "X", INGOT_ACTIVATION, 0, 0, 0}};
constexpr IngotAttr attributes[] = {{"heads", "int", nullptr}, {"interleaved", "int", "0"}, {"dims", "int", "0"}};
constexpr auto kernels = loop_kernels(create, enqueue<Instructions::avx512>, enqueue<Instructions::avx2>,
                                      enqueue<Instructions::portable>, release<Kept>);

constexpr IngotOp rows[] = {op_row(
    "Rotate",
    "Pairs (a, b) among the first dims elements of each head (0: all) become (cos a - sin b, sin a + cos b), with cos "
    "and sin of the token's position, in float32 and rounded once; the other elements stay. A pair is element i and i "
    "+ dims / 2, or, interleaved, 2 i and 2 i + 1. ONNX RotaryEmbedding-23 over one token axis. RoFormer, arXiv "
    "2104.09864, section 3.2.2.",
    inputs, outputs, attributes, infer, kernels)};

}  // namespace

std::span<const IngotOp> rotate_rows() { return rows; }

}  // namespace ingot
