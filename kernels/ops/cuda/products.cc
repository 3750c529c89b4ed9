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
  bool stream, tile, cublaslt;  // may serve it
  int32_t tactics[14];          // of 1, 2, 4, … 8192 tokens
};

// Without a timed tactic, by what was measured on an H100 with the sizes of Llama-2-7B: the stream has up to 8 tokens,
// tiles those up to where cuBLASLt is as quick, cuBLASLt the rest. Without tiles the stream has up to 32, without
// cuBLASLt one of the two has all.
int32_t default_tactic(const State &state, const Product &p) {
  const int32_t tile_tokens = p.x_dtype == INGOT_F8E4M3 ? 64 : 32, stream_tokens = state.tile ? 8 : 32;
  if (state.stream && (p.T <= stream_tokens || !(state.tile || state.cublaslt))) return 0;
  if (state.tile && (p.T <= tile_tokens || !state.cublaslt)) return Tactics::first_tile;
  return state.cublaslt ? Tactics::first_cublaslt : Tactics::none;
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
  state->stream = takes_stream_product(p, why, sizeof why);
  state->tile = ctx->blas && tuner(ctx)->tile() && TileProducts::takes(p, why, sizeof why);
  state->cublaslt = cublaslt_of(ctx) && takes_cublaslt_product(p, why, sizeof why);
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

int stream(const Product &p, int32_t variant, IngotCtx *ctx) {
  return report(launch_stream_product(p, variant, static_cast<cudaStream_t>(ctx->stream)), "stream", p, ctx);
}

int multiply(const Product &p, int32_t algorithm, IngotCtx *ctx) {
  return launch_cublaslt_product(*cublaslt_of(ctx), p, p.T, algorithm, ctx->workspace, ctx->workspace_bytes,
                                 static_cast<cudaStream_t>(ctx->stream));
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
int enqueue_stream(void *, const IngotCall *call, int32_t tactic, IngotCtx *ctx) {
  return stream(product_of_call(op, call, ctx), tactic, ctx);
}

template <Op op>
int enqueue_tile(void *, const IngotCall *call, int32_t tactic, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  return report(tuner(ctx)->tile()->launch(p, tactic, ctx->workspace, ctx->workspace_bytes,
                                           static_cast<cudaStream_t>(ctx->stream)),
                "tile", p, ctx);
}

template <Op op>
int enqueue_cublaslt(void *, const IngotCall *call, int32_t tactic, IngotCtx *ctx) {
  const Product p = product_of_call(op, call, ctx);
  const int status = multiply(p, tactic, ctx);
  if (status < 0) return report(static_cast<cudaError_t>(-status), "cublaslt", p, ctx);
  if (!status) return 0;
  return ctx->host->error(ctx, "cuBLASLt has no algorithm for a product with T=%d F=%d D=%d: status %d", p.T, p.F, p.D,
                          status);
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
  if (done(timed, bucket) || done(default_tactic(state, p), p.T) || (state.stream && done(0, p.T))) return 0;
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
int supports_tuned(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  return supports_cublaslt<op>(node, ctx, why, n) || supports_stream<op>(node, ctx, why, n);
}

// The same for every T, so that it is monotone. The words are T, D, F.
size_t workspace(const IngotNode *, const int64_t *dims) { return cublaslt_workspace(dims[2]); }

constexpr uint32_t own = INGOT_CAPTURABLE | INGOT_PDL | INGOT_BATCH_INVARIANT;

template <Op op>
constexpr IngotKernel tuned = {"tuned", INGOT_CUDA, 80,      0,          INGOT_CAPTURABLE, supports_tuned<op>,
                               nullptr, workspace,  nullptr, create<op>, nullptr,          enqueue_tuned<op>,
                               destroy};
template <Op op>
constexpr IngotKernel cublaslt = {"cublaslt", INGOT_CUDA, 80,      0,       INGOT_CAPTURABLE, supports_cublaslt<op>,
                                  nullptr,    workspace,  nullptr, nullptr, nullptr,          enqueue_cublaslt<op>,
                                  nullptr};
template <Op op>
constexpr IngotKernel tiled = {"tile",
                               INGOT_CUDA,
                               90,
                               90,
                               INGOT_CAPTURABLE | INGOT_PDL,
                               supports_tile<op>,
                               nullptr,
                               workspace,
                               nullptr,
                               nullptr,
                               nullptr,
                               enqueue_tile<op>,
                               nullptr};
template <Op op>
constexpr IngotKernel streamed = {"stream", INGOT_CUDA, 80,      0,       own,     supports_stream<op>,
                                  nullptr,  nullptr,    nullptr, nullptr, nullptr, enqueue_stream<op>,
                                  nullptr};
template <Op op>
constexpr IngotKernel plain = {"plain", INGOT_CUDA,        80,     0, own, nullptr, nullptr, nullptr, nullptr, nullptr,
                               nullptr, enqueue_plain<op>, nullptr};

template <Op op>
constexpr IngotKernel kernels[] = {tuned<op>, cublaslt<op>, tiled<op>, streamed<op>, plain<op>};
constexpr IngotKernel grouped_kernels[] = {{"stream", INGOT_CUDA, 80, 0, own, supports_grouped, nullptr, nullptr,
                                            nullptr, nullptr, nullptr, enqueue_grouped, nullptr},
                                           plain<Op::grouped>};

constexpr IngotOpKernels sets[] = {{"ingot", "Linear", kernels<Op::linear>, 5},
                                   {"ingot", "ScaledLinear", kernels<Op::scaled>, 5},
                                   {"ingot", "GroupedLinear", grouped_kernels, 2}};

}  // namespace

std::span<const IngotOpKernels> product_kernels() { return sets; }

}  // namespace ingot
