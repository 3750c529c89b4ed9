// A node's tensors against its row: types, shapes in words, and what the outputs are.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ingot_op.h"
#include "ops/node.h"

namespace ingot {

// Binds the row's words to `in` and writes type and shape of every present output (node.out_names; "-": absent, dtype
// 0). `in` carries data for HOST inputs; dtype 0: absent. `words`, if given, receives the sizes of the row's words in
// the order of their first use in the inputs; a word that only absent inputs use is 0. Throws Error(INGOT_INVALID) that
// names the argument, what was found and what the row says.
void infer(const IngotNode &node, IngotCtx *ctx, std::span<const IngotTensor> in, std::span<IngotTensor> out,
           std::vector<int64_t> *words = nullptr);

std::string dims_text(const IngotTensor &tensor);  // "2,3"; "scalar" where there are none

// Strides, in elements, of a contiguous tensor.
void set_strides(IngotTensor &tensor);

}  // namespace ingot
