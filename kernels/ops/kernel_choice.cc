#include "ops/kernel_choice.h"

#include <span>
#include <string_view>

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
std::string lack(const IngotKernel &kernel, const IngotNode &node, const IngotCtx &ctx) {
  if (kernel.device != ctx.device) return kernel.device == INGOT_CUDA ? "it is for CUDA" : "it is for the CPU";
  if (kernel.device == INGOT_CUDA && (ctx.sm < kernel.sm_min || (kernel.sm_max && ctx.sm > kernel.sm_max))) {
    return "this GPU is not one that it is for";
  }
  if (!kernel.supports) return "";
  char why[512] = "";
  if (kernel.supports(&node, &ctx, why, sizeof why)) return "";
  return why[0] ? why : "it does not take these inputs";
}

}  // namespace

const IngotKernel *choose(const IngotNode &node, const IngotCtx &ctx, const std::string &wanted, std::string *why) {
  std::string reasons;
  const int least = place_of(wanted);
  for (const IngotKernel &kernel : std::span(node.op->kernels, static_cast<size_t>(node.op->n_kernels))) {
    const int place = place_of(kernel.name);
    if (place >= 0 && place < least) continue;
    const std::string reason = lack(kernel, node, ctx);
    if (reason.empty()) return &kernel;
    reasons += (reasons.empty() ? "" : "; ") + std::string(kernel.name) + ": " + reason;
  }
  if (why) *why = reasons.empty() ? "it has no kernel" : reasons;
  return nullptr;
}

const IngotKernel *kernel_named(const IngotNode &node, const IngotCtx &ctx, const std::string &name, std::string *why) {
  std::string names;
  for (const IngotKernel &kernel : std::span(node.op->kernels, static_cast<size_t>(node.op->n_kernels))) {
    names += (names.empty() ? "" : ", ") + std::string(kernel.name);
    if (name != kernel.name) continue;
    *why = lack(kernel, node, ctx);
    if (why->empty()) return &kernel;
    *why = name + ": " + *why;
    return nullptr;
  }
  *why = "it has no kernel '" + name + "' (it has: " + (names.empty() ? "none" : names) + ")";
  return nullptr;
}

}  // namespace ingot
