// What one finished step gave.
#pragma once
#include <span>

#include "ingot_device.h"

namespace ingot {

// Valid until the next step of the same rank is launched or finished.
struct StepResults {
  std::span<float> logits_NV;                    // empty where the rank sampled every row that was wanted; where it
                                                 // samples, the leader's rows alone are meaningful
  std::span<const float> hidden_ND;              // of the same rows; empty where the engine does not give them
  std::span<const IngotSampledToken> sampled_S;  // empty: the rank does not sample, its leader does
};

}  // namespace ingot
