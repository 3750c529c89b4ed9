// The kernels that the rows have for the CPU, as kernels of a device that is a host::Machine: what they are given lies
// in its memory, and they run when its stream comes to them.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "host_machine.h"
#include "ops/binding.h"
#include "ops/dtype.h"
#include "ops/kernel_choice.h"
#include "ops/node.h"
#include "ops/table.h"

namespace host {

// A node's kernel of the CPU and what it keeps; the node's weights as the device sees them.
struct HostKernel {
  ingot::HostState state;
  IngotCtx ctx = ingot::host_context(state);
  IngotNode node;
  const IngotKernel *kernel = nullptr;
  void *self = nullptr;
  size_t words = 0;  // of the row

  ~HostKernel() {
    if (kernel && kernel->destroy && self) kernel->destroy(self);
  }
};

inline const IngotKernel *host_kernel(const IngotNode *node, std::string *why) {
  ingot::HostState state;
  return ingot::choose(*node, ingot::host_context(state), "auto", why);
}

inline int supports(const IngotNode *node, const IngotCtx *, char *why, size_t n) {
  std::string reason;
  if (host_kernel(node, &reason)) return 1;
  std::snprintf(why, n, "%s", reason.c_str());
  return 0;
}

inline size_t workspace(const IngotNode *node, const int64_t *dims) {
  const IngotKernel *kernel = host_kernel(node, nullptr);
  return kernel->workspace ? kernel->workspace(node, dims) : 0;
}

inline size_t bytes_of(const IngotTensor &tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return static_cast<size_t>(ingot::bytes_of_elements(tensor.dtype, count));
}

// The tensor where the device finds it; false: it does not. HOST inputs are read where they are.
inline bool bring(const Machine &machine, bool on_host, IngotTensor &tensor) {
  if (on_host || !tensor.dtype || !tensor.data || bytes_of(tensor) == 0) return true;
  tensor.data = machine.memory.on_device(static_cast<uint8_t *>(tensor.data), bytes_of(tensor));
  return tensor.data;
}

inline bool is_host(const IngotOp &op, size_t input) {
  const IngotArg *argument = ingot::argument_at(op.in, op.n_in, input);
  return argument && argument->role == INGOT_HOST;
}

inline int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  auto made = std::make_unique<HostKernel>();
  made->node = *node;
  std::vector<IngotTensor> outputs(node->outputs.size());
  std::vector<int64_t> words;
  ingot::infer(made->node, &made->ctx, made->node.inputs, outputs, &words);
  made->words = words.size();
  for (size_t i = 0; i < made->node.inputs.size(); ++i) {
    if (!bring(machine(ctx->accelerator_self), is_host(*node->op, i), made->node.inputs[i]))
      return ctx->host->error(ctx, "input %zu is a weight that the device cannot reach", i);
  }
  made->kernel = host_kernel(&made->node, nullptr);
  if (made->kernel->create && made->kernel->create(&made->node, &made->ctx, &made->self))
    return ctx->host->error(ctx, "%s", made->state.error.c_str());
  *self = made.release();
  return 0;
}

inline int enqueue(void *self, const IngotCall *call, int32_t tactic, IngotCtx *ctx) {
  HostKernel *kernel = static_cast<HostKernel *>(self);
  Machine &device = machine(ctx->accelerator_self);
  std::atomic<int> &refuse_in = watch.capturing ? watch.refuse_in_capture : watch.refuse_in;
  if (refuse_in >= 0 && refuse_in-- == 0) return ctx->host->error(ctx, "the device was told to refuse");
  std::vector<IngotTensor> in(call->in, call->in + call->n_in), out(call->out, call->out + call->n_out);
  for (size_t i = 0; i < in.size(); ++i) {
    if (reinterpret_cast<uintptr_t>(in[i].data) % 256 && !is_host(*kernel->node.op, i))
      return ctx->host->error(ctx, "input %zu does not begin at a multiple of 256 bytes", i);
    if (!bring(device, is_host(*kernel->node.op, i), in[i]))
      return ctx->host->error(ctx, "input %zu lies where the device cannot reach it", i);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (!bring(device, false, out[i]))
      return ctx->host->error(ctx, "output %zu lies where the device cannot reach it", i);
  }
  void *scratch = nullptr;
  if (ctx->workspace_bytes) {
    scratch = device.memory.on_device(static_cast<uint8_t *>(ctx->workspace), ctx->workspace_bytes);
    if (!scratch) return ctx->host->error(ctx, "the workspace lies where the device cannot reach it");
  }
  std::vector<int64_t> dims(call->dims, call->dims + kernel->words);
  device.enqueue([kernel, in, out, dims, tactic, scratch, bytes = ctx->workspace_bytes](std::string &why) {
    if (watch.fail_in >= 0 && watch.fail_in-- == 0) {
      why = "the device was told to fail";
      return false;
    }
    IngotCtx own = kernel->ctx;
    own.workspace = scratch;
    own.workspace_bytes = bytes;
    const IngotCall moved{in.data(), out.data(), static_cast<int32_t>(in.size()), static_cast<int32_t>(out.size()),
                          dims.data()};
    const int failed = kernel->kernel->enqueue(kernel->self, &moved, tactic, &own);
    if (failed) why = kernel->state.error;
    return failed == 0;
  });
  return 0;
}

inline int refuse_to_run(void *, const IngotCall *, int32_t, IngotCtx *ctx) {
  return ctx->host->error(ctx, "a kernel ran whose results depend on the other tokens of a step");
}

inline void destroy(void *self) { delete static_cast<HostKernel *>(self); }

inline constexpr uint32_t host_flags = INGOT_CAPTURABLE | INGOT_BATCH_INVARIANT;
inline constexpr IngotKernel host_row[] = {
    {"host", INGOT_CUDA, 0, 0, host_flags, supports, nullptr, workspace, nullptr, create, nullptr, enqueue, destroy}};
// Another stands before it, which must not be taken where results are to be batch invariant.
inline constexpr IngotKernel linear_row[] = {{"hasty", INGOT_CUDA, 0, 0, INGOT_CAPTURABLE, nullptr, nullptr, nullptr,
                                              nullptr, nullptr, nullptr, refuse_to_run, nullptr},
                                             host_row[0]};

// Of every row; with `hasty`, Linear's other kernel too.
inline const std::vector<IngotOpKernels> &kernel_sets(bool hasty) {
  static const ingot::OpTable table;
  const auto make = [](bool with_hasty) {
    std::vector<IngotOpKernels> sets;
    for (const IngotOp *row : table.rows()) {
      const bool two = with_hasty && std::string_view(row->name) == "Linear";
      sets.push_back({row->domain, row->name, two ? linear_row : host_row, two ? 2 : 1});
    }
    return sets;
  };
  static const std::vector<IngotOpKernels> plain = make(false), both = make(true);
  return hasty ? both : plain;
}

}  // namespace host
