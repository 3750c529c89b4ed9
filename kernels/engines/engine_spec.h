// What an engine over a plan tells the runtime: the plan's functions, groups and maxima as the plain structs of
// ingot_engine.h.
#pragma once
#include <deque>
#include <string>
#include <vector>

#include "engines/plan.h"
#include "ingot_engine.h"

namespace ingot {

class EngineSpec {
 public:
  // Copies what it needs. A function without outputs gets one: logits_NV, f32, N × vocab.
  EngineSpec(const Plan &plan, int64_t weight_bytes, int64_t activation_bytes, bool capturable = false);
  EngineSpec(const EngineSpec &) = delete;
  EngineSpec &operator=(const EngineSpec &) = delete;

  const IngotEngineSpec *get() const { return &spec_; }

 private:
  const char *keep(const std::string &text);
  IngotNamedTensor named(const PlanValue &value);
  void add_function(const Plan &plan, const PlanFunction &function);
  void add_group(const Plan &plan, const PlanGroup &group);

  IngotEngineSpec spec_{};
  std::deque<std::string> texts_;  // a deque never moves what it holds
  std::deque<std::vector<IngotNamedTensor>> tensors_;
  std::deque<std::vector<IngotStateTensor>> states_;
  std::vector<IngotFunction> functions_;
  std::vector<IngotCacheGroup> groups_;
};

}  // namespace ingot
