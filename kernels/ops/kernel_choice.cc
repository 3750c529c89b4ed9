#include "ops/kernel_choice.h"

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "ingot_device.h"

namespace ingot {
namespace {

constexpr std::string_view simpler[] = {"avx512", "avx2", "portable", "naive"};

// Place in `simpler`; -1: a name of somebody's own.
int place_of(std::string_view name) {
  for (int i = 0; i < static_cast<int>(std::size(simpler)); ++i) {
    if (simpler[i] == name) return i;
  }
  return -1;
}

// "" if the kernel can run the node here, else what it lacks.
std::string lack(const IngotKernel &kernel, const IngotNode &node, const IngotCtx &ctx, bool invariant = false) {
  if (kernel.device != ctx.device) return kernel.device == INGOT_CUDA ? "it is for CUDA" : "it is for the CPU";
  if (invariant && ctx.device != INGOT_CPU && !(kernel.flags & INGOT_BATCH_INVARIANT))
    return "its results depend on the other tokens of a step";
  if (kernel.device == INGOT_CUDA && (ctx.sm < kernel.sm_min || (kernel.sm_max && ctx.sm > kernel.sm_max))) {
    return "this GPU is not one that it is for";
  }
  if (!kernel.supports) return "";
  char why[512] = "";
  if (kernel.supports(&node, &ctx, why, sizeof why)) return "";
  return why[0] ? why : "it does not take these inputs";
}

using Kernels = std::span<const IngotKernel>;

// Those of the device's library before the row's own.
std::vector<Kernels> kernels_of(const IngotOp &op, const IngotCtx &ctx) {
  std::vector<Kernels> kernels;
  const bool told = ctx.size >= offsetof(IngotCtx, accelerator) + sizeof ctx.accelerator;
  if (told && ctx.accelerator) {
    int32_t count = 0;
    const IngotOpKernels *sets = ctx.accelerator->kernels(&count);
    for (const IngotOpKernels &set : std::span(sets, static_cast<size_t>(count))) {
      if (std::string_view(set.domain) != op.domain || std::string_view(set.name) != op.name) continue;
      kernels.emplace_back(set.kernels, static_cast<size_t>(set.n_kernels));
    }
  }
  kernels.emplace_back(op.kernels, static_cast<size_t>(op.n_kernels));
  return kernels;
}

}  // namespace

const IngotKernel *choose(const IngotNode &node, const IngotCtx &ctx, const std::string &wanted, std::string *why) {
  std::string reasons;
  const int least = place_of(wanted);
  const bool invariant = wanted == "batch_invariant";
  for (const Kernels kernels : kernels_of(*node.op, ctx)) {
    for (const IngotKernel &kernel : kernels) {
      const int place = place_of(kernel.name);
      if (place >= 0 && place < least) continue;
      const std::string reason = lack(kernel, node, ctx, invariant);
      if (reason.empty()) return &kernel;
      reasons += (reasons.empty() ? "" : "; ") + std::string(kernel.name) + ": " + reason;
    }
  }
  if (why) *why = reasons.empty() ? "it has no kernel" : reasons;
  return nullptr;
}

const IngotKernel *kernel_named(const IngotNode &node, const IngotCtx &ctx, const std::string &name, std::string *why) {
  std::string names;
  for (const Kernels kernels : kernels_of(*node.op, ctx)) {
    for (const IngotKernel &kernel : kernels) {
      names += (names.empty() ? "" : ", ") + std::string(kernel.name);
      if (name != kernel.name) continue;
      *why = lack(kernel, node, ctx);
      if (why->empty()) return &kernel;
      *why = name + ": " + *why;
      return nullptr;
    }
  }
  *why = "it has no kernel '" + name + "' (it has: " + (names.empty() ? "none" : names) + ")";
  return nullptr;
}

}  // namespace ingot
