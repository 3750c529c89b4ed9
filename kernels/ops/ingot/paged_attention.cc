// PagedAttention: the row and its definition.
#include <cmath>

#include "ops/cpu/fast.h"
#include "ops/ingot/float_row.h"
#include "ops/ingot/row.h"
#include "ops/rows.h"

namespace ingot {
namespace {

enum Input {
  q_TX,
  k_TY,
  v_TY,
  cache_k,
  cache_v,
  pages_SM,
  cells_T,
  positions_T,
  sequences_T,
  slopes_H,
  sinks_H,
  k_scale,
  v_scale
};

using Long = long long;

int infer(const IngotNode *node, IngotCtx *ctx, const IngotTensor *in, int32_t, IngotTensor *out, int32_t n_out) {
  const IngotHost *host = ctx->host;
  const int64_t H = host->attr_int(node, "heads"), G = host->attr_int(node, "groups");
  const int64_t X = in[q_TX].shape[1], Y = in[k_TY].shape[1], K = in[cache_k].shape[3], L = in[slopes_H].shape[0];
  if (n_out != 3) return host->error(ctx, "%d outputs are asked for, not the 3 of y and the caches", n_out);
  if (G < 1 || H < 1 || H % G) {
    return host->error(ctx, "%lld heads and %lld groups; heads must be a multiple of groups", Long{H}, Long{G});
  }
  int64_t HK, GK;
  if (__builtin_mul_overflow(H, K, &HK) || __builtin_mul_overflow(G, K, &GK))
    return host->error(ctx, "%lld heads and %lld groups of %lld elements cannot be", Long{H}, Long{G}, Long{K});
  if (X != HK || Y != GK || in[cache_k].shape[1] != G) {
    return host->error(
        ctx,
        "q is %lld wide, k and v %lld, and the cache holds %lld groups; %lld heads and %lld groups of %lld elements "
        "need %lld, %lld and %lld",
        Long{X}, Long{Y}, Long{in[cache_k].shape[1]}, Long{H}, Long{G}, Long{K}, Long{HK}, Long{GK}, Long{G});
  }
  if (L != H) return host->error(ctx, "slopes and sinks have %lld elements for %lld heads", Long{L}, Long{H});
  if (in[cache_k].shape[2] < 1) return host->error(ctx, "pages of %lld tokens", Long{in[cache_k].shape[2]});
  if (host->attr_int(node, "window") < 0) {
    return host->error(ctx, "attribute window is %lld; 0 is no window", Long{host->attr_int(node, "window")});
  }
  describe(out[0], in[q_TX].dtype, {in[q_TX].shape[0], X});
  for (const int32_t cache : {0, 1}) {
    const IngotTensor &state = in[cache_k + cache];
    describe(out[1 + cache], state.dtype, {state.shape[0], state.shape[1], state.shape[2], state.shape[3]});
  }
  return 0;
}

struct Kept {
  int64_t heads, groups, window;
  float scale, softcap;
};

int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  const IngotHost *host = ctx->host;
  const Kept kept{host->attr_int(node, "heads"), host->attr_int(node, "groups"), host->attr_int(node, "window"),
                  static_cast<float>(host->attr_float(node, "scale")),
                  static_cast<float>(host->attr_float(node, "softcap"))};
  return keep(kept, node, ctx, self);
}

// One step's call.
struct Work {
  const IngotTensor *in;
  const IngotTensor &y;
  const Kept &kept;
  int64_t T, W, K, P, S, M;
  float k_unit, v_unit;  // what a cache's 1 stands for

  int64_t integer(Input i, int64_t at) const { return static_cast<const int32_t *>(in[i].data)[at]; }
  float number(Input i, int64_t at) const { return static_cast<const float *>(in[i].data)[at]; }
  int64_t first_seen(int64_t position) const {
    return kept.window && position >= kept.window ? position - kept.window + 1 : 0;
  }
  // Where in a cache the group's row of a cell begins.
  int64_t cache_row(int64_t page, int64_t group, int64_t place) const {
    return ((page * kept.groups + group) * W + place) * K;
  }
  int64_t key_row(int64_t t, int64_t group, int64_t position) const {
    return cache_row(integer(pages_SM, integer(sequences_T, t) * M + position / W), group, position % W);
  }
};

// Whether all that a step's fields point to lies inside the tables and the cache.
int check_fields(const Work &work, IngotCtx *ctx) {
  const IngotHost *host = ctx->host;
  for (int64_t t = 0; t < work.T; ++t) {
    const int64_t sequence = work.integer(sequences_T, t), position = work.integer(positions_T, t);
    const int64_t cell = work.integer(cells_T, t);
    const bool known = sequence >= 0 && sequence < work.S && position >= 0 && position < work.M * work.W;
    if (!known || cell < 0 || cell >= work.P * work.W) {
      return host->error(
          ctx,
          "token %lld: sequence %lld, position %lld, cell %lld do not fit %lld sequences of %lld pages of %lld tokens "
          "and a cache of %lld pages",
          Long{t}, Long{sequence}, Long{position}, Long{cell}, Long{work.S}, Long{work.M}, Long{work.W}, Long{work.P});
    }
    for (int64_t m = work.first_seen(position) / work.W; m <= position / work.W; ++m) {
      const int64_t page = work.integer(pages_SM, sequence * work.M + m);
      if (page >= 0 && page < work.P) continue;
      return host->error(ctx, "page %lld of sequence %lld is %lld; the cache has %lld", Long{m}, Long{sequence},
                         Long{page}, Long{work.P});
    }
  }
  return 0;
}

// Writes k and v of the tokens into their cells.
void write_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<const Work *>(arg);
  float values[piece_size];
  for (int64_t t = begin; t < end; ++t) {
    const int64_t cell = work.integer(cells_T, t);
    for (int64_t group = 0; group < work.kept.groups; ++group) {
      const int64_t from = (t * work.kept.groups + group) * work.K,
                    to = work.cache_row(cell / work.W, group, cell % work.W);
      for (const int32_t which : {0, 1}) {
        const IngotTensor &x = work.in[k_TY + which], &state = work.in[cache_k + which];
        const float unit = which ? work.v_unit : work.k_unit;
        each_piece(work.K, [&](int64_t i, int64_t count) {
          read_floats(x.data, x.dtype, from + i, count, values);
          for (int64_t j = 0; j < count; ++j) values[j] /= unit;
          write_floats(values, count, state.data, state.dtype, to + i);
        });
      }
    }
  }
}

// One token and head.
struct Query {
  const Work &work;
  int64_t t, head, group, position;

  float score(int64_t key_position) const {
    float q[piece_size], k[piece_size], sum = 0;
    const IngotTensor &queries = work.in[q_TX], &keys = work.in[cache_k];
    const int64_t q_row = (t * work.kept.heads + head) * work.K, k_row = work.key_row(t, group, key_position);
    each_piece(work.K, [&](int64_t i, int64_t count) {
      read_floats(queries.data, queries.dtype, q_row + i, count, q);
      read_floats(keys.data, keys.dtype, k_row + i, count, k);
      for (int64_t j = 0; j < count; ++j) sum += q[j] * k[j];
    });
    float score = work.kept.scale * work.k_unit * sum;
    if (work.kept.softcap != 0) score = work.kept.softcap * std::tanh(score / work.kept.softcap);
    return score + work.number(slopes_H, head) * static_cast<float>(key_position - position);
  }

  void attend() const {
    const int64_t first = work.first_seen(position);
    const float sink = work.number(sinks_H, head);
    float largest = sink;
    for (int64_t p = first; p <= position; ++p) largest = std::fmax(largest, score(p));
    // Elements of the head in pieces, the weights anew for each.
    each_piece(work.K, [&](int64_t i, int64_t count) {
      float means[piece_size] = {}, v[piece_size], total = std::exp(sink - largest);
      for (int64_t p = first; p <= position; ++p) {
        const float weight = std::exp(score(p) - largest);
        read_floats(work.in[cache_v].data, work.in[cache_v].dtype, work.key_row(t, group, p) + i, count, v);
        total += weight;
        for (int64_t j = 0; j < count; ++j) means[j] += weight * v[j];
      }
      for (int64_t j = 0; j < count; ++j) means[j] = means[j] / total * work.v_unit;
      write_floats(means, count, work.y.data, work.y.dtype, (t * work.kept.heads + head) * work.K + i);
    });
  }
};

void attend_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<const Work *>(arg);
  const int64_t heads = work.kept.heads, shared = heads / work.kept.groups;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t t = unit / heads, head = unit % heads;
    Query{work, t, head, head / shared, work.integer(positions_T, t)}.attend();
  }
}

float number_or_one(const IngotCall *call, Input i) {
  return i < call->n_in && call->in[i].data ? *static_cast<const float *>(call->in[i].data) : 1.f;
}

int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor *in = call->in, &cache = in[cache_k], &pages = in[pages_SM];
  const Kept &kept = *static_cast<const Kept *>(self);
  Work work{in,
            call->out[0],
            kept,
            in[q_TX].shape[0],
            cache.shape[2],
            cache.shape[3],
            cache.shape[0],
            pages.shape[0],
            pages.shape[1],
            number_or_one(call, k_scale),
            number_or_one(call, v_scale)};
  if (const int status = check_fields(work, ctx)) return status;
  const auto row = static_cast<double>(kept.groups * work.K);
  ctx->host->parallel_for(ctx, work.T, units_per_part(row), write_part, &work);
  ctx->host->parallel_for(ctx, work.T * kept.heads, 1, attend_part, &work);
  return 0;
}

constexpr IngotKernel naive = {"naive", INGOT_CPU, 0,      0,       naive_flags, nullptr,      nullptr,
                               nullptr, nullptr,   create, nullptr, enqueue,     release<Kept>};

constexpr IngotArg inputs[] = {{"q", "T X", "A:f32|f16|bf16", INGOT_ACTIVATION, 0, 0, -1},
                               {"k", "T Y", "A", INGOT_ACTIVATION, 0, 0, -1},
                               {"v", "T Y", "A", INGOT_ACTIVATION, 0, 0, -1},
                               {"cache_k", "P G W K", "C:f32|f16|bf16|f8e4m3", INGOT_STATE, 0, 0, -1},
                               {"cache_v", "P G W K", "C", INGOT_STATE, 0, 0, -1},
                               {"pages", "S M", "i32", INGOT_STEP, 0, 0, -1},
                               {"cells", "T", "i32", INGOT_STEP, 0, 0, -1},
                               {"positions", "T", "i32", INGOT_STEP, 0, 0, -1},
                               {"sequences", "T", "i32", INGOT_STEP, 0, 0, -1},
                               {"slopes", "H", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"sinks", "H", "f32", INGOT_WEIGHT, 0, 0, -1},
                               {"k_scale", "", "f32", INGOT_WEIGHT, 1, 0, -1},
                               {"v_scale", "", "f32", INGOT_WEIGHT, 1, 0, -1}};
constexpr IngotArg outputs[] = {{"y", "T X", "A", INGOT_ACTIVATION, 0, 0, -1},
                                {"new_k", "P G W K", "C", INGOT_ACTIVATION, 0, 0, cache_k},
                                {"new_v", "P G W K", "C", INGOT_ACTIVATION, 0, 0, cache_v}};
constexpr IngotAttr attributes[] = {{"heads", "int", nullptr},
                                    {"groups", "int", nullptr},
                                    {"scale", "float", nullptr},
                                    {"softcap", "float", "0"},
                                    {"window", "int", "0"}};

}  // namespace

std::span<const IngotOp> paged_attention_rows() {
  static const std::vector<IngotKernel> kernels = with_naive(paged_attention_kernels(), naive);
  static const IngotOp rows[] = {op_row(
      "PagedAttention",
      "Writes k / k_scale and v / v_scale of token t, as the type of the caches holds them (f8e4m3 at most 448), into "
      "cell cells[t] (page cells[t] / W, place cells[t] mod W); a scale that is absent is 1. Then y[t, h] = v_scale "
      "sum "
      "over p of softmax(s)[p] v[p], over the positions p from 0 (window w > 0: from positions[t] - w + 1) to "
      "positions[t] of the token's own sequence, which pages[sequences[t]] locates in the caches; s[p] = cap(scale "
      "k_scale q[t, h] . k[p]) + slopes[h] (p - positions[t]), with cap(x) = softcap tanh(x / softcap), or x where "
      "softcap is 0; sinks[h] is one more score, without a value (-inf: none). Head h reads group h / (heads / "
      "groups). "
      "All in float32, y rounded once. Pages: arXiv 2309.06180, section 4.1; groups: arXiv 2305.13245, section 2.2; "
      "slopes: arXiv 2108.12409, section 3; softcap: arXiv 2408.00118, section 2; sinks: arXiv 2309.17453, section "
      "3.3; "
      "f8e4m3: arXiv 2209.05433, section 3.",
      inputs, outputs, attributes, infer, kernels)};
  return rows;
}

}  // namespace ingot
