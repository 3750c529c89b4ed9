#include "ops/host.h"

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "ingot_engine.h"
#include "ops/node.h"

namespace ingot {
namespace {

HostState &state_of(IngotCtx *ctx) { return *static_cast<HostState *>(ctx->owner); }

int record_error(IngotCtx *ctx, const char *format, ...) {
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  state_of(ctx).error = text;
  return 1;
}

void write_log(IngotCtx *, int level, const char *format, ...) {
  if (level < 1) return;
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
}

const char *node_name(const IngotNode *node) { return node->name.c_str(); }

int64_t attr_int(const IngotNode *node, const char *name) {
  const NodeAttribute *found = node->attribute(name);
  return found ? found->integer : 0;
}

double attr_float(const IngotNode *node, const char *name) {
  const NodeAttribute *found = node->attribute(name);
  return found ? found->number : 0;
}

const char *attr_string(const IngotNode *node, const char *name) {
  const NodeAttribute *found = node->attribute(name);
  return found ? found->text.c_str() : "";
}

int32_t attr_ints(const IngotNode *node, const char *name, const int64_t **values) {
  const NodeAttribute *found = node->attribute(name);
  *values = found ? found->integers.data() : nullptr;
  return found ? static_cast<int32_t>(found->integers.size()) : 0;
}

int32_t attr_floats(const IngotNode *node, const char *name, const double **values) {
  const NodeAttribute *found = node->attribute(name);
  *values = found ? found->numbers.data() : nullptr;
  return found ? static_cast<int32_t>(found->numbers.size()) : 0;
}

int32_t input_count(const IngotNode *node) { return static_cast<int32_t>(node->inputs.size()); }
int32_t output_count(const IngotNode *node) { return static_cast<int32_t>(node->outputs.size()); }

IngotTensor tensor_at(const std::vector<IngotTensor> &tensors, int32_t i) {
  return i >= 0 && static_cast<size_t>(i) < tensors.size() ? tensors[static_cast<size_t>(i)] : IngotTensor{};
}

void input(const IngotNode *node, int32_t i, IngotTensor *tensor) { *tensor = tensor_at(node->inputs, i); }
void output(const IngotNode *node, int32_t i, IngotTensor *tensor) { *tensor = tensor_at(node->outputs, i); }

void step_field(const IngotStep *step, const char *name, IngotTensor *tensor) {
  *tensor = IngotTensor{};
  const bool apart = step->size >= offsetof(IngotStep, host_fields) + sizeof step->host_fields && step->host_fields;
  const IngotTensor *fields = apart ? step->host_fields : step->fields;
  for (int32_t i = 0; i < step->n_fields; ++i) {
    if (std::strcmp(step->named[i].name, name) == 0) *tensor = fields[i];
  }
}

void parallel_for(IngotCtx *ctx, int64_t n, int64_t grain, void (*body)(void *, int64_t, int64_t), void *arg) {
  if (ThreadPool *pool = state_of(ctx).pool) return pool->parallel_for(n, grain, body, arg);
  if (n > 0) body(arg, 0, n);
}

constexpr IngotHost services = {sizeof(IngotHost), record_error, write_log, node_name,   attr_int,
                                attr_float,        attr_string,  attr_ints, attr_floats, input_count,
                                output_count,      input,        output,    step_field,  parallel_for};

}  // namespace

const IngotHost *host_services() { return &services; }

IngotCtx host_context(HostState &state) {
  IngotCtx ctx{};
  ctx.size = sizeof ctx;
  ctx.device = INGOT_CPU;
  ctx.sm_count = state.pool ? state.pool->size() : 1;
  ctx.ranks = 1;
  ctx.host = host_services();
  ctx.owner = &state;
  return ctx;
}

}  // namespace ingot
