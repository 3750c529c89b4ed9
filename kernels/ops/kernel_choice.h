// Which of a row's kernels runs a node.
#pragma once
#include <string>

#include "ingot_op.h"
#include "ops/node.h"

namespace ingot {

// The first kernel that supports the node here, of those that ctx.accelerator brings for the op, then in the row's
// order. `wanted` "auto": any; "batch_invariant": only one whose results for a token do not depend on the other tokens,
// as are all of the CPU; "avx512", "avx2", "portable", "naive": none that stands before it in this order, so that an op
// without such a kernel takes the next simpler one. NULL: none; `why` then says of each what it lacks.
const IngotKernel *choose(const IngotNode &node, const IngotCtx &ctx, const std::string &wanted, std::string *why);

// The kernel of that name, if it supports the node here; else NULL and `why`.
const IngotKernel *kernel_named(const IngotNode &node, const IngotCtx &ctx, const std::string &name, std::string *why);

}  // namespace ingot
