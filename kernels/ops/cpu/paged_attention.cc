// PagedAttention on the CPU: checks the step's fields, writes k and v into their cells, then shares tokens and heads
// between threads.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "ops/cpu/attention.h"
#include "ops/cpu/cpu_features.h"
#include "ops/cpu/fast.h"
#include "ops/ingot/float_row.h"

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

template <Instructions set>
AttentionKernel attention_kernel() {
#if defined(__x86_64__)
  if constexpr (set == Instructions::avx512) return attention_avx512();
  if constexpr (set == Instructions::avx2) return attention_avx2();
#endif
  return attention_portable();
}

template <Instructions set>
int supports(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  IngotTensor q{}, cache{}, other{};
  ctx->host->input(node, q_TX, &q);
  ctx->host->input(node, cache_k, &cache);
  const int64_t heads = ctx->host->attr_int(node, "heads"), groups = ctx->host->attr_int(node, "groups");
  const char *reason = nullptr;
  if (!cpu_has(set)) reason = "this CPU does not have the instructions";
  if (q.dtype != INGOT_F32 && q.dtype != INGOT_F16 && q.dtype != INGOT_BF16) reason = "q must be f32, f16 or bf16";
  for (const Input i : {k_TY, v_TY}) {
    ctx->host->input(node, i, &other);
    if (other.dtype != q.dtype) reason = "q, k and v must have one type";
  }
  ctx->host->input(node, cache_v, &other);
  if (cache.dtype != other.dtype || (cache.dtype != q.dtype && cache.dtype != INGOT_F8E4M3)) {
    reason = "the caches must have the type of q, k and v, or f8e4m3";
  }
  if (groups < 1 || heads < 1 || heads % groups) reason = "heads must be a multiple of groups";
  if (cache.shape[3] < 1 || cache.shape[3] > max_head_size) reason = "heads must have 1 to 256 elements";
  if (!reason) return 1;
  snprintf(why, n, "%s", reason);
  return 0;
}

// What a node's kernel keeps: its attributes.
struct State {
  AttentionKernel kernel;
  int64_t heads, groups, window;
  float scale, softcap;
};

template <Instructions set>
int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  const IngotHost *host = ctx->host;
  *self = new (std::nothrow) State{attention_kernel<set>(),
                                   host->attr_int(node, "heads"),
                                   host->attr_int(node, "groups"),
                                   host->attr_int(node, "window"),
                                   static_cast<float>(host->attr_float(node, "scale")),
                                   static_cast<float>(host->attr_float(node, "softcap"))};
  return *self ? 0 : host->error(ctx, "no memory for the state of PagedAttention");
}

void destroy(void *self) { delete static_cast<State *>(self); }

const int32_t *integers(const IngotCall *call, Input i) { return static_cast<const int32_t *>(call->in[i].data); }

const float *floats(const IngotCall *call, Input i) {
  return i < call->n_in ? static_cast<const float *>(call->in[i].data) : nullptr;
}

float number_or_one(const IngotCall *call, Input i) {
  const float *number = floats(call, i);
  return number ? *number : 1.f;
}

Attention attention_of(const State &state, const IngotCall *call) {
  const IngotTensor *in = call->in;
  Attention a{};
  a.T = in[q_TX].shape[0];
  a.H = state.heads;
  a.G = state.groups;
  a.W = in[cache_k].shape[2];
  a.K = in[cache_k].shape[3];
  a.M = in[pages_SM].shape[1];
  a.window = state.window;
  a.scale = state.scale * number_or_one(call, k_scale);
  a.v_scale = number_or_one(call, v_scale);
  a.softcap = state.softcap;
  a.dtype = in[q_TX].dtype;
  a.cache_dtype = in[cache_k].dtype;
  a.q_THK = in[q_TX].data;
  a.y_THK = call->out[0].data;
  a.cache_k_PGWK = in[cache_k].data;
  a.cache_v_PGWK = in[cache_v].data;
  a.pages_SM = integers(call, pages_SM);
  a.positions_T = integers(call, positions_T);
  a.sequences_T = integers(call, sequences_T);
  a.slopes_H = floats(call, slopes_H);
  a.sinks_H = floats(call, sinks_H);
  return a;
}

int64_t first_seen(const Attention &a, int64_t position) {
  return a.window && position >= a.window ? position - a.window + 1 : 0;
}

// Whether all that a step's fields point to lies inside the tables and the cache.
int check_fields(const Attention &a, const IngotCall *call, IngotCtx *ctx) {
  const int64_t S = call->in[pages_SM].shape[0], P = call->in[cache_k].shape[0];
  const int32_t *cells = integers(call, cells_T);
  for (int64_t t = 0; t < a.T; ++t) {
    const int64_t sequence = a.sequences_T[t], position = a.positions_T[t];
    if (sequence < 0 || sequence >= S || position < 0 || position >= a.M * a.W || cells[t] < 0 || cells[t] >= P * a.W) {
      return ctx->host->error(ctx,
                              "token %lld: sequence %lld, position %lld, cell %d do not fit %lld sequences of %lld "
                              "pages of %lld tokens and a cache of %lld pages",
                              static_cast<long long>(t), static_cast<long long>(sequence),
                              static_cast<long long>(position), cells[t], static_cast<long long>(S),
                              static_cast<long long>(a.M), static_cast<long long>(a.W), static_cast<long long>(P));
    }
    // The token before, if it is the sequence's own and not after this one, has had its pages looked at.
    const bool next = t > 0 && a.sequences_T[t - 1] == sequence && a.positions_T[t - 1] <= position;
    const int64_t from = next ? a.positions_T[t - 1] : first_seen(a, position);
    for (int64_t m = from / a.W; m <= position / a.W; ++m) {
      const int32_t page = a.pages_SM[sequence * a.M + m];
      if (page >= 0 && page < P) continue;
      return ctx->host->error(ctx, "page %lld of sequence %lld is %d; the cache has %lld", static_cast<long long>(m),
                              static_cast<long long>(sequence), page, static_cast<long long>(P));
    }
  }
  return 0;
}

struct Work {
  Attention attention;
  AttentionKernel kernel;
  const IngotCall *call;
};

// A token's row of one group, as the cache holds it.
void write_row(const IngotTensor &x, int64_t from, int64_t count, float scale, const IngotTensor &cache, int64_t to) {
  if (x.dtype == cache.dtype && scale == 1) {
    const int64_t size = x.dtype == INGOT_F32 ? 4 : 2;
    memcpy(static_cast<char *>(cache.data) + to * size, static_cast<const char *>(x.data) + from * size,
           static_cast<size_t>(count * size));
    return;
  }
  float values[max_head_size];
  read_floats(x.data, x.dtype, from, count, values);
  for (int64_t i = 0; i < count; ++i) values[i] /= scale;
  write_floats(values, count, cache.data, cache.dtype, to);
}

void write_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<Work *>(arg);
  const Attention &a = work.attention;
  for (const int i : {0, 1}) {
    const IngotTensor &x = work.call->in[k_TY + i], &cache = work.call->in[cache_k + i];
    const float scale = number_or_one(work.call, i ? v_scale : k_scale);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t cell = integers(work.call, cells_T)[t], page = cell / a.W, offset = cell % a.W;
      for (int64_t g = 0; g < a.G; ++g) {
        write_row(x, (t * a.G + g) * a.K, a.K, scale, cache, ((page * a.G + g) * a.W + offset) * a.K);
      }
    }
  }
}

void attend_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<Work *>(arg);
  work.kernel(work.attention, begin, end);
}

// About how long the mean unit takes, in nanoseconds.
double unit_time(const Attention &a) {
  double keys = 0;
  for (int64_t t = 0; t < a.T; ++t) keys += static_cast<double>(a.positions_T[t] - first_seen(a, a.positions_T[t]) + 1);
  return 100 + keys / static_cast<double>(a.T) * static_cast<double>(a.K * (a.H / a.G + 1)) * 0.06;
}

constexpr double part_time = 3000;  // nanoseconds: less is not worth handing to another thread

int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const State &state = *static_cast<State *>(self);
  Work work{attention_of(state, call), state.kernel, call};
  const Attention &a = work.attention;
  if (a.T == 0) return 0;
  if (const int status = check_fields(a, call, ctx)) return status;
  ctx->host->parallel_for(ctx, a.T, 16384 / (a.G * a.K) + 1, write_part, &work);
  ctx->host->parallel_for(ctx, a.T * a.G, static_cast<int64_t>(part_time / unit_time(a)) + 1, attend_part, &work);
  return 0;
}

template <Instructions set>
constexpr IngotKernel kernel(const char *name) {
  return {name,        INGOT_CPU, 0,       0,      INGOT_BATCH_INVARIANT, supports<set>, nullptr, nullptr, nullptr,
          create<set>, nullptr,   enqueue, destroy};
}

constexpr IngotKernel table[] = {
#if defined(__x86_64__)
    kernel<Instructions::avx512>("avx512"),
    kernel<Instructions::avx2>("avx2"),
#endif
    kernel<Instructions::portable>("portable"),
};

}  // namespace

std::span<const IngotKernel> paged_attention_kernels() { return table; }

}  // namespace ingot
