// How the row of a standard op is written down: ONNX's names, types and attributes, any rank, one naive kernel.
#pragma once
#include <new>
#include <span>

#include "ingot_op.h"

namespace ingot::standard {

constexpr int32_t opset = 24;

// ONNX's type constraints, as far as Ingot has the types.
constexpr const char *any_type = "T:f32|u8|i8|i32|i64|bool|f16|bf16|f8e4m3|f8e5m2|u4|i4";
constexpr const char *whole_bytes = "T:f32|u8|i8|i32|i64|bool|f16|bf16";
constexpr const char *numbers = "T:f32|u8|i8|i32|i64|f16|bf16";
constexpr const char *signed_numbers = "T:f32|i8|i32|i64|f16|bf16";
constexpr const char *wide_numbers = "T:f32|i32|i64|f16|bf16";
constexpr const char *floats = "T:f32|f16|bf16";
constexpr const char *integers = "T:u8|i8|i32|i64";
constexpr const char *indices = "i32|i64";

constexpr IngotArg input(const char *name, const char *type) { return {name, "...", type, INGOT_ACTIVATION, 0, 0, -1}; }
constexpr IngotArg host_input(const char *name, const char *type) { return {name, "...", type, INGOT_HOST, 0, 0, -1}; }
// alias: the input whose memory it may take over.
constexpr IngotArg output(const char *name, const char *type, int8_t alias = -1) {
  return {name, "...", type, INGOT_ACTIVATION, 0, 0, alias};
}
constexpr IngotArg optional(IngotArg argument) {
  argument.optional = 1;
  return argument;
}
constexpr IngotArg variadic(IngotArg argument) {
  argument.variadic = 1;
  return argument;
}

struct Attributes {
  const IngotNode *node;
  const IngotHost *host;

  int64_t integer(const char *name) const { return host->attr_int(node, name); }
  float number(const char *name) const { return static_cast<float>(host->attr_float(node, name)); }
  const char *text(const char *name) const { return host->attr_string(node, name); }
  std::span<const int64_t> integers(const char *name) const {
    const int64_t *values = nullptr;
    const int32_t count = host->attr_ints(node, name, &values);
    return {values, static_cast<size_t>(count)};
  }
};

// A kernel whose `self` is a Work: made of the node's attributes once, run in every call.
template <class Work>
struct Naive {
  static int create(const IngotNode *node, IngotCtx *ctx, void **self) {
    *self = new (std::nothrow) Work(Attributes{node, ctx->host});
    return *self ? 0 : ctx->host->error(ctx, "no memory for the kernel");
  }
  static int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
    return static_cast<const Work *>(self)->run(*call, ctx);
  }
  static void destroy(void *self) { delete static_cast<Work *>(self); }

  static constexpr IngotKernel kernel{"naive", INGOT_CPU, 0,       0,       INGOT_REFERENCE | INGOT_BATCH_INVARIANT,
                                      nullptr, nullptr,   nullptr, nullptr, create,
                                      nullptr, enqueue,   destroy};
};

// A kernel without attributes.
template <int (*run)(const IngotCall &, IngotCtx *)>
struct NaiveFunction {
  static int enqueue(void *, const IngotCall *call, int32_t, IngotCtx *ctx) { return run(*call, ctx); }

  static constexpr IngotKernel kernel{"naive", INGOT_CPU, 0,       0,       INGOT_REFERENCE | INGOT_BATCH_INVARIANT,
                                      nullptr, nullptr,   nullptr, nullptr, nullptr,
                                      nullptr, enqueue,   nullptr};
};

using Infer = int (*)(const IngotNode *, IngotCtx *, const IngotTensor *, int32_t, IngotTensor *, int32_t);

template <size_t inputs, size_t outputs, size_t attributes>
constexpr IngotOp row(const char *name, const char *formula, const IngotArg (&in)[inputs],
                      const IngotArg (&out)[outputs], const IngotAttr (&attrs)[attributes], Infer infer,
                      const IngotKernel &kernel) {
  return {sizeof(IngotOp), opset, "", name, formula, in, out, attrs, inputs, outputs, attributes, infer, &kernel, 1};
}

template <size_t inputs, size_t outputs>
constexpr IngotOp row(const char *name, const char *formula, const IngotArg (&in)[inputs],
                      const IngotArg (&out)[outputs], Infer infer, const IngotKernel &kernel) {
  return {sizeof(IngotOp), opset, "", name, formula, in, out, nullptr, inputs, outputs, 0, infer, &kernel, 1};
}

// Calls body(begin, end) over parts of 0 … n-1, of `grain` or more each, on the engine's threads.
template <class Body>
void parallel(IngotCtx *ctx, int64_t n, int64_t grain, const Body &body) {
  const auto call = [](void *arg, int64_t begin, int64_t end) { (*static_cast<const Body *>(arg))(begin, end); };
  ctx->host->parallel_for(ctx, n, grain, call, const_cast<Body *>(&body));
}

}  // namespace ingot::standard
