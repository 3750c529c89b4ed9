// Linear, ScaledLinear and GroupedLinear on CUDA: which kernel serves a node, and a step.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "ops/cuda/product_call.h"
#include "ops/cuda/product_tuner.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

using Op = ProductOp;

ProductTuner *tuner(const IngotCtx *ctx) { return static_cast<ProductTuner *>(ctx->blas); }
CublasLt *cublaslt_of(const IngotCtx *ctx) { return ctx->blas ? tuner(ctx)->cublaslt() : nullptr; }

// What a node keeps.
struct State {
  bool stream, tile, cublaslt, staged;  // may serve it
  int32_t tactics[14];                  // of 1, 2, 4, … 8192 tokens
};

// Without a timed tactic, by what was measured on an H100 with the sizes of Llama-2-7B: the stream has up to 8 tokens,
// tiles those up to where cuBLASLt is as quick, cuBLASLt the rest. Without tiles the stream has up to 32, or 64 before
// stages; without cuBLASLt one of the two has all.
int32_t default_tactic(const State &state, const Product &p) {
  const int32_t tile_tokens = p.x_dtype == INGOT_F8E4M3 ? 64 : 32, stream_tokens = state.tile       ? 8
                                                                                   : state.cublaslt ? 32
                                                                                                    : 64;
  if (state.stream && (p.T <= stream_tokens || !(state.tile || state.cublaslt || state.staged))) return Tactics::stream;
  if (state.tile && (p.T <= tile_tokens || !state.cublaslt)) return Tactics::tile;
  if (state.cublaslt) return Tactics::first_cublaslt;
  return state.staged ? Tactics::first_staged : Tactics::none;
}

// Tells of the engine's directory and whether to time; a host of before has none of it.
void tune(const Product &p, IngotCtx *ctx) {
  const bool told = ctx->size >= offsetof(IngotCtx, tune) + sizeof ctx->tune;
  const std::string baked = told && ctx->directory ? std::string(ctx->directory) + "/tactics.txt" : "";
  const int32_t how = told ? ctx->tune : INGOT_TUNE_NEVER;
  tuner(ctx)->tune(p, baked, how != INGOT_TUNE_NEVER, static_cast<cudaStream_t>(ctx->stream));
  if (how == INGOT_TUNE_BAKE && !baked.empty() && !tuner(ctx)->bake(baked)) {
    ctx->host->log(ctx, 1, "%s cannot be written: the engine goes without tactics of its own", baked.c_str());
  }
}

template <Op op>
int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  char why[256];
  const Product p = product_of_node(op, node, ctx);
  auto *state = new (std::nothrow) State{};
  if (!state) return ctx->host->error(ctx, "no memory for the state of a product");
  *self = state;
  state->stream =
      op == Op::grouped ? takes_grouped_product(p, why, sizeof why) : takes_stream_product(p, why, sizeof why);
  state->tile = ctx->blas && tuner(ctx)->tile() && TileProducts::takes(p, why, sizeof why);
  state->cublaslt = cublaslt_of(ctx) && takes_cublaslt_product(p, why, sizeof why);
  state->staged = cublaslt_of(ctx) && takes_staged_product(p, why, sizeof why);
  for (int32_t &tactic : state->tactics) tactic = Tactics::none;
  if (!ctx->blas) return 0;
  try {
    tune(p, ctx);
  } catch (const std::exception &error) {
    ctx->host->log(ctx, 1, "products go by a rule, not by tactics: %s", error.what());
  }
  for (int i = 0; i < 14; ++i) state->tactics[i] = tuner(ctx)->tactic(p, 1 << i);
  return 0;
}

void destroy(void *self) { delete static_cast<State *>(self); }

int report(cudaError_t error, const char *kernel, const Product &p, IngotCtx *ctx) {
  if (error == cudaSuccess) return 0;
  return ctx->host->error(ctx, "kernel %s of a product with T=%d F=%d D=%d: %s", kernel, p.T, p.F, p.D,
                          cudaGetErrorString(error));
}

template <Op op>
int enqueue_plain(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  return report(launch_plain_product(p, static_cast<cudaStream_t>(ctx->stream)), "plain", p, ctx);
}

int enqueue_grouped(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Product p = product_of_call(Op::grouped, call, ctx);
  return report(launch_grouped_product(p, static_cast<cudaStream_t>(ctx->stream)), "grouped", p, ctx);
}

int supports_grouped(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  return takes_grouped_product(product_of_node(Op::grouped, node, ctx), why, n);
}

template <Op op>
int enqueue_stream(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  return report(launch_stream_product(p, static_cast<cudaStream_t>(ctx->stream)), "stream", p, ctx);
}

template <Op op>
int enqueue_tile(void *, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  return report(
      tuner(ctx)->tile()->launch(p, ctx->workspace, ctx->workspace_bytes, static_cast<cudaStream_t>(ctx->stream)),
      "tile", p, ctx);
}

int report_status(int status, const char *kernel, const Product &p, IngotCtx *ctx) {
  if (status < 0) return report(static_cast<cudaError_t>(-status), kernel, p, ctx);
  if (!status) return 0;
  return ctx->host->error(ctx, "cuBLASLt has no algorithm for a product with T=%d F=%d D=%d: status %d", p.T, p.F, p.D,
                          status);
}

template <Op op>
int enqueue_cublaslt(void *, const IngotCall *call, int32_t tactic, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  const int status = launch_cublaslt_product(*cublaslt_of(ctx), p, p.T, tactic, ctx->workspace, ctx->workspace_bytes,
                                             static_cast<cudaStream_t>(ctx->stream));
  return report_status(status, "cublaslt", p, ctx);
}

template <Op op>
int enqueue_staged(void *, const IngotCall *call, int32_t tactic, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  const int status = launch_staged_product(*cublaslt_of(ctx), p, p.T, tactic, ctx->workspace, ctx->workspace_bytes,
                                           static_cast<cudaStream_t>(ctx->stream));
  return report_status(status, "staged", p, ctx);
}

template <Op op>
int enqueue_tuned(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const State &state = *static_cast<State *>(self);
  const Product p = product_of_call(op, call, ctx);
  const auto on = static_cast<cudaStream_t>(ctx->stream);
  const int32_t bucket = tactic_bucket(p.T), timed = state.tactics[std::countr_zero(static_cast<uint32_t>(bucket))];
  const auto done = [&](int32_t tactic, int32_t tuned_T) {
    return tactic != Tactics::none &&
           tuner(ctx)->launch(p, tactic, tuned_T, ctx->workspace, ctx->workspace_bytes, on) == 0;
  };
  if (done(timed, bucket) || done(default_tactic(state, p), p.T)) return 0;
  if (state.stream && done(Tactics::stream, p.T)) return 0;
  return report(launch_plain_product(p, on), "plain", p, ctx);
}

template <Op op>
int supports_stream(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  return takes_stream_product(product_of_node(op, node, ctx), why, n);
}

template <Op op>
int supports_tile(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  if (ctx->blas && tuner(ctx)->tile()) return TileProducts::takes(product_of_node(op, node, ctx), why, n);
  snprintf(why, n, "this GPU has no wgmma");
  return 0;
}

template <Op op>
int supports_cublaslt(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  if (cublaslt_of(ctx)) return takes_cublaslt_product(product_of_node(op, node, ctx), why, n);
  snprintf(why, n, "the library cuBLASLt was not found");
  return 0;
}

template <Op op>
int supports_staged(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  if (cublaslt_of(ctx)) return takes_staged_product(product_of_node(op, node, ctx), why, n);
  snprintf(why, n, "the library cuBLASLt was not found");
  return 0;
}

template <Op op>
int supports_tuned(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  if (supports_cublaslt<op>(node, ctx, why, n) || supports_staged<op>(node, ctx, why, n)) return 1;
  return op == Op::grouped ? supports_grouped(node, ctx, why, n) : supports_stream<op>(node, ctx, why, n);
}

// The words are T, D, F.
size_t workspace(const IngotNode *, const int64_t *dims) { return cublaslt_workspace(dims[2]); }

template <Op op>
size_t workspace_of_stages(const IngotNode *, const int64_t *dims) {
  return std::max(cublaslt_workspace(dims[2]), staged_workspace(dims[0], dims[2], dims[1], op == Op::grouped));
}

constexpr uint32_t own = INGOT_CAPTURABLE | INGOT_PDL | INGOT_BATCH_INVARIANT;

constexpr IngotKernel kernel(const char *name, uint32_t flags, decltype(IngotKernel::supports) supports,
                             decltype(IngotKernel::workspace) workspace, decltype(IngotKernel::enqueue) enqueue) {
  IngotKernel made{};
  made.name = name;
  made.device = INGOT_CUDA;
  made.sm_min = 80;
  made.flags = flags;
  made.supports = supports;
  made.workspace = workspace;
  made.enqueue = enqueue;
  return made;
}

template <Op op>
constexpr IngotKernel tuned_kernel() {
  IngotKernel made = kernel("tuned", INGOT_CAPTURABLE, supports_tuned<op>,
                            op == Op::linear ? workspace : workspace_of_stages<op>, enqueue_tuned<op>);
  made.create = create<op>;
  made.destroy = destroy;
  return made;
}

template <Op op>
constexpr IngotKernel tile_kernel() {
  IngotKernel made = kernel("tile", INGOT_CAPTURABLE | INGOT_PDL, supports_tile<op>, workspace, enqueue_tile<op>);
  made.sm_min = made.sm_max = 90;
  return made;
}

template <Op op>
constexpr IngotKernel tuned = tuned_kernel<op>();
template <Op op>
constexpr IngotKernel tile = tile_kernel<op>();
template <Op op>
constexpr IngotKernel cublaslt =
    kernel("cublaslt", INGOT_CAPTURABLE, supports_cublaslt<op>, workspace, enqueue_cublaslt<op>);
template <Op op>
constexpr IngotKernel staged =
    kernel("staged", INGOT_CAPTURABLE, supports_staged<op>, workspace_of_stages<op>, enqueue_staged<op>);
template <Op op>
constexpr IngotKernel streamed = kernel("stream", own, supports_stream<op>, nullptr, enqueue_stream<op>);
template <Op op>
constexpr IngotKernel plain = kernel("plain", own, nullptr, nullptr, enqueue_plain<op>);
constexpr IngotKernel grouped = kernel("stream", own, supports_grouped, nullptr, enqueue_grouped);

constexpr IngotKernel linear_kernels[] = {tuned<Op::linear>, cublaslt<Op::linear>, tile<Op::linear>,
                                          streamed<Op::linear>, plain<Op::linear>};
constexpr IngotKernel scaled_kernels[] = {tuned<Op::scaled>, cublaslt<Op::scaled>, staged<Op::scaled>,
                                          tile<Op::scaled>,  streamed<Op::scaled>, plain<Op::scaled>};
constexpr IngotKernel grouped_kernels[] = {tuned<Op::grouped>, staged<Op::grouped>, grouped, plain<Op::grouped>};

constexpr IngotOpKernels sets[] = {{"ingot", "Linear", linear_kernels, 5},
                                   {"ingot", "ScaledLinear", scaled_kernels, 6},
                                   {"ingot", "GroupedLinear", grouped_kernels, 4}};

}  // namespace

std::span<const IngotOpKernels> product_kernels() { return sets; }

}  // namespace ingot
