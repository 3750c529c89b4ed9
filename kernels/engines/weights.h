// The weights of a plan: mapped from weights.safetensors, each checked against the plan's type and dimensions, or made
// where the plan says how.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engines/accelerator.h"
#include "engines/arena.h"
#include "engines/plan.h"
#include "files/safetensors.h"

namespace ingot {

class Weights {
 public:
  // On an accelerator they are copied to it, or made there. Throws Error(INGOT_FOLDER) that names the tensor, the file,
  // and both types and shapes, Error(INGOT_MACHINE) where there is no room.
  Weights(const Plan &plan, const std::string &directory, const Accelerator &accelerator = {});

  uint8_t *data(int32_t value) const { return places_[value]; }  // of a plan value; NULL if it is no weight
  int64_t bytes() const { return bytes_; }

  // Copies `bytes` bytes over the weight `name`, in this process only.
  void refit(const std::string &name, const void *data, size_t bytes);

 private:
  void move_to(const Plan &plan, const Accelerator &accelerator);
  void make_here(const Plan &plan);

  Safetensors file_;
  Arena made_;
  Accelerator accelerator_;
  DeviceMemory memory_;
  std::vector<uint8_t *> places_;
  // A weight's name, place and size.
  struct Used {
    std::string name;
    uint8_t *data;
    size_t bytes;
  };
  std::vector<Used> used_;  // sorted by name
  int64_t bytes_ = 0;
};

}  // namespace ingot
