// One use of an op: what a line of plan.txt says, with the row's defaults filled in.
//   op NAME DOMAIN::OP@VERSION in=a,b,- out=y key=f:1e-05
// Attributes begin with the letter of their kind: i 3, f 1e-05, s text (percent-encoded), I 1,2, F 0.5,1, d bf16.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ingot_op.h"
#include "ops/table.h"

namespace ingot {

struct NodeAttribute {
  const IngotAttr *row = nullptr;
  int64_t integer = 0;  // int, and the number of a dtype
  double number = 0;
  std::string text;
  std::vector<int64_t> integers;
  std::vector<double> numbers;
};

}  // namespace ingot

struct IngotNode {
  const IngotOp *op = nullptr;
  std::string name;
  std::vector<std::string> in_names, out_names;  // "-": absent
  std::vector<ingot::NodeAttribute> attributes;  // in the row's order
  std::vector<IngotTensor> inputs, outputs;      // filled in by whoever binds the node; dtype 0: absent

  const ingot::NodeAttribute *attribute(std::string_view wanted) const;  // NULL: the row has none
};

namespace ingot {

// Throws Error(INGOT_INVALID): the line is no node, the op is not in the table, or its attributes do not fit the row.
IngotNode parse_node(std::string_view line, const OpTable &table);

}  // namespace ingot
