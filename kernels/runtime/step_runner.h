// Who computes steps: launched one after another, finished in the same order.
#pragma once
#include "runtime/step.h"
#include "runtime/step_results.h"

namespace ingot {

class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Launches a step, whose message must stay valid until it is finished. Throws Error.
  virtual void launch(const StepView &step) = 0;
  // Waits for the oldest step that was launched and not finished. Throws Error with the engine's sentence.
  virtual StepResults finish() = 0;
  // Whether it samples itself, and so takes a step before the one ahead of it is finished, unless that one has rows
  // for the leader.
  virtual bool samples() const = 0;
  // Whether it samples by these settings; the slot is not looked at. Only asked where samples().
  virtual bool can_sample(const SamplingChange &sampling) const = 0;
};

}  // namespace ingot
