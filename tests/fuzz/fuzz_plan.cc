// plan.txt: what is accepted names only what it declares, in order, and every size is counted without overflow.
#include <cstdint>
#include <string>
#include <string_view>

#include "engines/engine_spec.h"
#include "engines/plan.h"
#include "refusal.h"

using namespace ingot;

namespace {

void check(const Plan &plan) {
  const auto values = static_cast<int32_t>(plan.values.size());
  for (const PlanGroup &group : plan.groups) {
    for (const int32_t state : group.states) require(state >= 0 && state < values);
  }
  for (const PlanFunction &function : plan.functions) {
    for (const PlanOp &op : function.ops) {
      for (const int32_t value : op.in) require(value >= -1 && value < values);
      for (const int32_t value : op.out) require(value >= -1 && value < values);
    }
    for (const int32_t output : function.outputs) require(plan.values[static_cast<size_t>(output)].first >= 0);
  }
  for (const PlanValue &value : plan.values) {
    require(bytes_of(value, plan.max) >= 0);
    for (const LinearForm &dim : value.dims) dim.text();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string_view text(reinterpret_cast<const char *>(data), size);
  for (const PlanPart part : {PlanPart::whole, PlanPart::facts}) {
    accepts([&] {
      const Plan plan = parse_plan(text, "plan.txt", part);
      if (part == PlanPart::whole) check(plan);
      EngineSpec(plan, 0, 0).get();
    });
  }
  return 0;
}
