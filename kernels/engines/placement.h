// Where the activations of one function lie in the arena: which share memory because one is the other seen differently
// or takes its place, and at which offset each begins.
#pragma once
#include <cstdint>
#include <vector>

#include "engines/plan.h"
#include "ingot_op.h"

namespace ingot {

struct PlacedOp {
  const IngotOp *row = nullptr;
  int64_t workspace_bytes = 0;
  // Set by place():
  int64_t workspace = -1;  // offset; -1: none
  bool view = false;       // its output is its input's memory as it stands: nothing is to be done
};

struct Placement {
  std::vector<int64_t> offsets;  // by plan value; -1: not an activation of this function
  int64_t bytes = 0;             // of the arena
};

// `ops` are those of `function`, in its order, with row and workspace_bytes filled in.
Placement place(const Plan &plan, const PlanFunction &function, std::vector<PlacedOp> &ops);

}  // namespace ingot
