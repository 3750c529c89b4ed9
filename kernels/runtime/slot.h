// Slots: what a rank remembers of each running sequence between steps. Every rank derives the same from the same
// messages.
#pragma once
#include <cstdint>
#include <vector>

#include "runtime/step.h"

namespace ingot {

class Slots {
 public:
  // columns: M, the length of a page table row in every group.
  Slots(int32_t slots, std::vector<int32_t> pages_of_groups, int32_t columns);

  // Takes over a step's sampling changes and page updates. Throws Error(INGOT_FAILED) if the message leaves the bounds.
  void apply(const StepView &step);

  int32_t size() const { return static_cast<int32_t>(last_tokens_.size()); }
  int32_t columns() const { return columns_; }
  int32_t last_token(int32_t slot) const { return last_tokens_[slot]; }
  void set_last_token(int32_t slot, int32_t token) { last_tokens_[slot] = token; }
  const SamplingChange &sampling(int32_t slot) const { return samplings_[slot]; }
  const int32_t *pages(int32_t group, int32_t slot) const { return tables_[group].data() + int64_t{slot} * columns_; }
  // Grows whenever a page table row of the slot changes.
  uint64_t version(int32_t slot) const { return versions_[slot]; }

 private:
  void check_slot(int32_t slot) const;

  int32_t columns_;
  std::vector<int32_t> pages_of_groups_;
  std::vector<int32_t> last_tokens_;
  std::vector<SamplingChange> samplings_;
  std::vector<std::vector<int32_t>> tables_;  // per group, slots × columns
  std::vector<uint64_t> versions_;
};

}  // namespace ingot
