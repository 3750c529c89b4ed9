// The weights of a plan: mapped from weights.safetensors, each checked against the plan's type and dimensions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engines/plan.h"
#include "files/safetensors.h"

namespace ingot {

class Weights {
 public:
  // Throws Error(INGOT_FOLDER) that names the tensor, the file, and both types and shapes.
  Weights(const Plan &plan, const std::string &directory);

  uint8_t *data(int32_t value) const { return places_[value]; }  // of a plan value; NULL if it is no weight
  int64_t bytes() const { return bytes_; }

  // Copies `bytes` bytes over the weight `name`, in this process only.
  void refit(const std::string &name, const void *data, size_t bytes);

 private:
  Safetensors file_;
  std::vector<uint8_t *> places_;
  std::vector<const StoredTensor *> used_;  // sorted by name
  int64_t bytes_ = 0;
};

}  // namespace ingot
