// One op by itself with tensors that a caller gave: for tests and tools.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ingot.h"
#include "ingot_op.h"
#include "ops/host.h"
#include "ops/node.h"
#include "ops/table.h"

namespace ingot {

// The built-in rows, and those of `library` if it is not NULL.
OpTable table_with(const char *library);

// Not `present`: an empty one. Throws Error(INGOT_INVALID) for ranks and types that no op takes.
IngotTensor tensor_of(const IngotArray &array, bool present);

// An op with its tensors, ready to be inferred and run.
struct SingleOp {
  OpTable table;
  IngotNode node;
  std::vector<IngotTensor> in, out;  // out: as inferred, once `infer` was called with it

  // Throws Error(INGOT_INVALID): the line is no node, or names other numbers of tensors.
  SingleOp(const char *line, const char *library, const IngotArray *inputs, int32_t n_in, int32_t n_out);

  // The arrays that a caller gave for its outputs.
  std::vector<IngotTensor> outputs_of(const IngotArray *arrays, int32_t count) const;

  // Throws Error(INGOT_INVALID) if these are not what `out` says.
  void check_outputs(std::span<const IngotTensor> given) const;
};

// Throws what a kernel recorded if its status is not 0.
void check_status(int status, const HostState &state, int kind);

}  // namespace ingot
