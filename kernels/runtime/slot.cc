#include "runtime/slot.h"

#include <algorithm>

#include "error.h"
#include "ingot.h"

namespace ingot {

Slots::Slots(int32_t slots, std::vector<int32_t> pages_of_groups, int32_t columns)
    : columns_(columns),
      pages_of_groups_(std::move(pages_of_groups)),
      last_tokens_(static_cast<size_t>(slots), 0),
      samplings_(static_cast<size_t>(slots)),
      tables_(pages_of_groups_.size(),
              std::vector<int32_t>(static_cast<size_t>(slots) * static_cast<size_t>(columns), 0)),
      versions_(static_cast<size_t>(slots), 1) {}

void Slots::check_slot(int32_t slot) const {
  if (slot < 0 || slot >= size()) fail(INGOT_FAILED, "a step message names slot %d of %d", slot, size());
}

void Slots::apply(const StepView &step) {
  for (const int32_t slot : step.slots_S) check_slot(slot);
  for (const SamplingChange &change : step.sampling_changes) {
    check_slot(change.slot);
    samplings_[change.slot] = change;
    for (auto &table : tables_) std::fill_n(table.begin() + int64_t{change.slot} * columns_, columns_, 0);
    ++versions_[change.slot];
  }
  for (const PageUpdate &update : step.page_updates) {
    check_slot(update.slot);
    if (update.group < 0 || update.group >= static_cast<int32_t>(tables_.size()) || update.column < 0 ||
        update.column >= columns_ || update.page < 0 || update.page >= pages_of_groups_[update.group]) {
      fail(INGOT_FAILED, "a step message puts page %d into column %d of group %d, which is out of range", update.page,
           update.column, update.group);
    }
    tables_[update.group][static_cast<size_t>(update.slot) * columns_ + update.column] = update.page;
    ++versions_[update.slot];
  }
}

}  // namespace ingot
