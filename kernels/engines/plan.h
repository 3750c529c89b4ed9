// plan.txt: one rank's lowered graph as text, one op a line, checked as a whole before anything is allocated.
//
// Dimensions are linear forms in T tokens, S sequences, N rows that want logits, Q most tokens of one sequence; fields
// may use M, columns of a page table; tensors of cache groups begin with P, pages (or S, slots, in groups of kind
// "state").
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engines/linear_form.h"
#include "ingot_device.h"

namespace ingot {

// A weight that is described instead of stored: rows of random numbers, or what quantization makes of them.
struct MadeWeight {
  std::vector<IngotRandomRows> parts;  // none: it is stored
  bool quantized = false;
  IngotRandomCodes how{};  // of a quantized one
};

enum class PlanRole { weight, constant, state, field, activation };

struct PlanValue {
  std::string name;
  PlanRole role = PlanRole::activation;
  int32_t dtype = 0;
  std::vector<LinearForm> dims;
  int32_t first = -1,
          last = -1;  // activations: the ops that write it and that read it last; an output lasts to the end
  std::vector<int64_t> integers;  // constants
  int32_t group = -1;             // states
  MadeWeight made;                // weights
};

struct PlanGroup {
  std::string name, kind;
  int32_t page_tokens = 0, window = 0;
  bool sharded = true;
  std::vector<int32_t> states;  // indices into Plan::values
};

struct PlanOp {
  std::string name, line;  // the whole line, for ops/node.h
  int32_t line_number = 0;
  std::vector<int32_t> in, out;  // indices into Plan::values; -1: absent
};

struct PlanFunction {
  std::string name;
  std::vector<int32_t> fields, outputs;  // indices into Plan::values
  std::vector<PlanOp> ops;
};

struct Plan {
  StepSizes max;           // P is unknown until the pools are bound: 0
  int32_t max_length = 0;  // L
  int32_t vocab = 0;
  std::vector<std::string> libraries;  // op libraries, relative to the rank's folder
  std::vector<PlanGroup> groups;
  std::vector<PlanValue> values;
  std::vector<PlanFunction> functions;
};

enum class PlanPart {
  whole,
  facts  // only max, vocab, group, state and field lines are looked at
};

// Throws Error(INGOT_FOLDER) "<path>:<line>: …". `path` is only for messages.
Plan parse_plan(std::string_view text, const std::string &path, PlanPart part = PlanPart::whole);
Plan read_plan(const std::string &path, PlanPart part = PlanPart::whole);

// -1 if a dimension is negative or the product is absurdly large.
int64_t bytes_of(const PlanValue &value, const StepSizes &sizes);

}  // namespace ingot
