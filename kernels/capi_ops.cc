// The functions of ingot.h about single ops: the table of rows, one op by itself, random tensors.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "capi_boundary.h"
#include "engines/device_library.h"
#include "error.h"
#include "files/json_writer.h"
#include "ingot.h"
#include "ops/binding.h"
#include "ops/cuda_coverage.h"
#include "ops/dtype.h"
#include "ops/host.h"
#include "ops/kernel_choice.h"
#include "ops/node.h"
#include "ops/numbers.h"
#include "ops/table.h"
#include "ops/thread_pool.h"
#include "random_number.h"
#include "single_op.h"

using namespace ingot;

namespace {

constexpr const char *roles[] = {"activation", "weight", "state", "step", "host"};

std::string arguments_json(std::span<const IngotArg> arguments) {
  JsonWriter list('[');
  for (const IngotArg &argument : arguments) {
    JsonWriter entry('{');
    entry.string("name", argument.name).string("shape", argument.shape).string("type", argument.type);
    entry.string("role", roles[std::min<size_t>(argument.role, std::size(roles) - 1)]);
    entry.boolean("optional", argument.optional).boolean("variadic", argument.variadic).number("alias", argument.alias);
    list.raw("", entry.json());
  }
  return list.json();
}

std::string attributes_json(const IngotOp &row) {
  JsonWriter list('[');
  for (const IngotAttr &attribute : std::span(row.attrs, static_cast<size_t>(row.n_attrs))) {
    JsonWriter entry('{');
    entry.string("name", attribute.name).string("type", attribute.type);
    if (attribute.def) entry.string("default", attribute.def);
    list.raw("", entry.json());
  }
  return list.json();
}

std::string kernels_json(std::span<const IngotKernel> kernels) {
  static constexpr std::pair<uint32_t, const char *> names[] = {{INGOT_CAPTURABLE, "capturable"},
                                                                {INGOT_PDL, "pdl"},
                                                                {INGOT_BATCH_INVARIANT, "batch_invariant"},
                                                                {INGOT_REFERENCE, "reference"}};
  JsonWriter list('[');
  for (const IngotKernel &kernel : kernels) {
    JsonWriter flags('[');
    for (const auto &[flag, name] : names) {
      if (kernel.flags & flag) flags.string("", name);
    }
    JsonWriter entry('{');
    entry.string("name", kernel.name)
        .string("device", kernel.device == INGOT_CUDA ? "cuda" : "cpu")
        .raw("flags", flags.json());
    list.raw("", entry.json());
  }
  return list.json();
}

// Kernels of the library of CUDA, where it is there.
std::string cuda_kernels_json(const IngotOp &row) {
  std::string why;
  const IngotDeviceApi *api = find_device("cuda", &why);
  int32_t count = 0;
  const IngotOpKernels *sets = api ? api->kernels(&count) : nullptr;
  std::vector<IngotKernel> found;
  for (const IngotOpKernels &set : std::span(sets, static_cast<size_t>(count))) {
    if (std::string_view(set.domain) == row.domain && std::string_view(set.name) == row.name)
      found.insert(found.end(), set.kernels, set.kernels + set.n_kernels);
  }
  return kernels_json(found);
}

std::string table_json(const OpTable &table) {
  JsonWriter ops('[');
  for (const IngotOp *row : table.rows()) {
    JsonWriter entry('{');
    entry.string("domain", row->domain)
        .string("name", row->name)
        .number("version", row->version)
        .string("doc", row->doc);
    entry.raw("inputs", arguments_json({row->in, static_cast<size_t>(row->n_in)}));
    entry.raw("outputs", arguments_json({row->out, static_cast<size_t>(row->n_out)}));
    entry.raw("attributes", attributes_json(*row))
        .raw("kernels", kernels_json({row->kernels, static_cast<size_t>(row->n_kernels)}));
    if (const CudaOp *covered = find_cuda_op(row->domain, row->name)) entry.string("cuda", covered->types);
    entry.raw("cuda_kernels", cuda_kernels_json(*row));
    ops.raw("", entry.json());
  }
  return JsonWriter('{').raw("ops", ops.json()).json();
}

void run(SingleOp &single, const char *kernel_name, int32_t threads, std::span<const IngotTensor> outputs) {
  ThreadPool pool(threads);
  HostState state{&pool, {}};
  IngotCtx ctx = host_context(state);
  IngotNode &node = single.node;
  std::vector<int64_t> words;
  infer(node, &ctx, single.in, single.out, &words);
  single.check_outputs(outputs);
  std::copy(outputs.begin(), outputs.end(), single.out.begin());
  node.inputs = single.in;
  node.outputs = single.out;

  std::string why;
  const IngotKernel *kernel =
      kernel_name ? kernel_named(node, ctx, kernel_name, &why) : choose(node, ctx, "auto", &why);
  if (!kernel) fail(INGOT_INVALID, "%s: %s", node.op->name, why.c_str());
  if (kernel->prepare) fail(INGOT_INVALID, "%s: its kernel %s works in a step only", node.op->name, kernel->name);
  std::vector<std::max_align_t> workspace;
  if (kernel->workspace) {
    ctx.workspace_bytes = kernel->workspace(&node, words.data());
    workspace.resize((ctx.workspace_bytes + 64) / sizeof(std::max_align_t) + 8);
    const auto first = reinterpret_cast<uintptr_t>(workspace.data());
    ctx.workspace = reinterpret_cast<void *>((first + 63) / 64 * 64);
  }
  void *self = nullptr;
  if (kernel->create) check_status(kernel->create(&node, &ctx, &self), state, INGOT_INVALID);
  const std::unique_ptr<void, void (*)(void *)> kept(self, kernel->destroy ? kernel->destroy : [](void *) {});
  const IngotCall call{single.in.data(), single.out.data(), static_cast<int32_t>(single.in.size()),
                       static_cast<int32_t>(single.out.size()), words.data()};
  check_status(kernel->enqueue(self, &call, 0, &ctx), state, INGOT_INVALID);
}

int64_t workspace_of(SingleOp &single, IngotCtx ctx) {
  IngotNode &node = single.node;
  std::vector<int64_t> words;
  infer(node, &ctx, single.in, single.out, &words);
  node.inputs = single.in;
  node.outputs = single.out;
  std::string why;
  const IngotKernel *kernel = choose(node, ctx, "auto", &why);
  if (!kernel) fail(INGOT_INVALID, "%s: %s", node.op->name, why.c_str());
  return kernel->workspace ? static_cast<int64_t>(kernel->workspace(&node, words.data())) : 0;
}

}  // namespace

extern "C" {

char *ingot_op_table(const char *library) {
  char *json = nullptr;
  guarded([&] { json = owned(table_json(table_with(library))); });
  return json;
}

int ingot_run_op(const char *line, const char *library, const char *kernel, int32_t threads, const IngotArray *in,
                 int32_t n_in, IngotArray *out, int32_t n_out) {
  return guarded([&] {
    if (!line || (n_in && !in) || (n_out && !out)) fail(INGOT_INVALID, "ingot_run_op: the line or an array is NULL");
    SingleOp single(line, library, in, n_in, n_out);
    run(single, kernel, std::clamp(threads, 1, 4096), single.outputs_of(out, n_out));
  });
}

int ingot_infer_op(const char *line, const char *library, const IngotArray *in, int32_t n_in, IngotArray *out,
                   int32_t n_out) {
  return guarded([&] {
    if (!line || (n_in && !in) || (n_out && !out)) fail(INGOT_INVALID, "ingot_infer_op: the line or an array is NULL");
    SingleOp single(line, library, in, n_in, n_out);
    infer(single.node, nullptr, single.in, single.out);
    for (size_t i = 0; i < single.out.size(); ++i) {
      out[i].dtype = single.out[i].dtype;
      out[i].rank = single.out[i].rank;
      std::copy_n(single.out[i].shape, single.out[i].rank, out[i].shape);
    }
  });
}

int ingot_op_workspace(const char *line, const char *library, const IngotArray *in, int32_t n_in, int32_t n_out,
                       int64_t *bytes) {
  return guarded([&] {
    if (!line || (n_in && !in) || !bytes) fail(INGOT_INVALID, "ingot_op_workspace: the line or an array is NULL");
    SingleOp single(line, library, in, n_in, n_out);
    HostState state{nullptr, {}};
    const IngotCtx ctx = host_context(state);
    *bytes = workspace_of(single, ctx);
  });
}

int ingot_random(uint64_t seed, uint64_t first, uint64_t count, float scale, int32_t dtype, void *data) {
  return guarded([&] {
    if (dtype != INGOT_F32 && dtype != INGOT_F16 && dtype != INGOT_BF16) {
      fail(INGOT_INVALID, "random tensors are f32, f16 or bf16; %s was asked for", dtype_name(dtype));
    }
    for (uint64_t i = 0; i < count; ++i) {
      const float x = random_number(seed, first + i, scale);
      if (dtype == INGOT_BF16) {  // the usual one: a 7-billion-parameter model is drawn this way
        static_cast<uint16_t *>(data)[i] = to_bf16(x);
      } else {
        write_float(data, dtype, static_cast<int64_t>(i), x);
      }
    }
  });
}

}  // extern "C"
