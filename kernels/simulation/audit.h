// What must hold after every step, whatever was scheduled.
#pragma once
#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "runtime/leader.h"
#include "simulation/violation.h"
#include "simulation/world.h"

namespace ingot::simulation {

class Audit {
 public:
  Audit(const World &world, const Leader &leader) : world_(world), leader_(leader) {}

  void after_step() {
    for (int32_t g = 0; g < static_cast<int32_t>(world_.groups.size()); ++g) check_pages(g);
    check_lengths();
    check_order();
    if (world_.policy == Policy::guaranteed_no_evict)
      require(leader_.scheduler().counts().preemptions == 0, "guaranteed_no_evict took a sequence's pages");
  }

 private:
  // Every page is counted on by exactly the running sequences whose tables name it, or is free.
  void check_pages(int32_t g) const {
    const PagePool &pool = leader_.blocks().pool(g);
    std::vector<int32_t> owners(static_cast<size_t>(pool.size()), 0);
    for (const Sequence *sequence : leader_.scheduler().running_sequences()) {
      for (const int32_t page : sequence->pages.groups[static_cast<size_t>(g)].pages)
        ++owners[static_cast<size_t>(page)];
    }
    int32_t free_pages = 0;
    for (int32_t page = 1; page < pool.size(); ++page) {
      require(owners[static_cast<size_t>(page)] == pool.references(page),
              "page " + std::to_string(page) + " is owned wrongly or lost");
      free_pages += owners[static_cast<size_t>(page)] == 0;
    }
    require(free_pages == pool.free_pages(), "the free pages are miscounted");
  }

  // Every group holds pages for the same tokens, those that are cached or on their way; who waits holds none.
  void check_lengths() const {
    const Scheduler &scheduler = leader_.scheduler();
    require(scheduler.running() <= static_cast<size_t>(world_.max_sequences),
            "more sequences run than there are slots");
    require(scheduler.in_flight() <= static_cast<size_t>(world_.lag), "more steps are in flight than the lag allows");
    std::set<int32_t> slots;
    for (const Sequence *sequence : scheduler.running_sequences()) {
      require(sequence->slot >= 0 && slots.insert(sequence->slot).second, "two sequences have one slot");
      require(world_.lag > 0 || sequence->in_flight == 0, "a sequence has tokens in flight between steps");
      require(sequence->scheduled() <= sequence->limit, "a sequence outgrew its limit");
      for (size_t g = 0; g < world_.groups.size(); ++g) {
        const int32_t page_tokens = world_.groups[g].page_tokens;
        require(static_cast<int32_t>(sequence->pages.groups[g].pages.size()) ==
                    (sequence->scheduled() + page_tokens - 1) / page_tokens,
                "a transaction took pages in one group and not in another");
      }
    }
    for (const Sequence *sequence : scheduler.waiting_sequences()) {
      require(sequence->slot < 0 && sequence->in_flight == 0 && sequence->committed == 0, "a waiting sequence runs");
      for (const auto &group : sequence->pages.groups) require(group.pages.empty(), "a waiting sequence holds pages");
    }
  }

  // Nobody was let in before one that waited already and stands before it in order.
  void check_order() {
    const auto before = [](const Sequence *a, const Sequence *b) { return precedes(*a, *b); };
    const auto &running = leader_.scheduler().running_sequences(), &waiting = leader_.scheduler().waiting_sequences();
    require(std::is_sorted(running.begin(), running.end(), before) &&
                std::is_sorted(waiting.begin(), waiting.end(), before),
            "sequences stand out of order");
    std::set<Key> runs, waits;
    for (const Sequence *sequence : running) runs.insert(key(*sequence));
    for (const Sequence *sequence : waiting) {  // a beam may have run and moved within the step
      if (!sequence->rests && !sequence->guided) waits.insert(key(*sequence));
    }
    for (const Key &entered : runs) {
      if (running_.contains(entered)) continue;
      if (entered.index > 0 && world_.policy == Policy::guaranteed_no_evict) continue;  // its place was kept
      for (const Key &waiter : waits) {
        require(entered < waiter || !waiting_.contains(waiter),
                "sequence " + name(entered) + " was let in before " + name(waiter));
      }
    }
    running_ = std::move(runs);
    waiting_ = std::move(waits);
  }

  struct Key {
    int32_t priority;
    uint64_t id;
    int32_t index;
    bool operator<(const Key &other) const {
      if (priority != other.priority) return priority > other.priority;
      return id != other.id ? id < other.id : index < other.index;
    }
  };
  static std::string name(const Key &key) {
    return std::to_string(key.id) + "." + std::to_string(key.index) + " of priority " + std::to_string(key.priority);
  }
  static Key key(const Sequence &sequence) { return {sequence.priority, sequence.id, sequence.index}; }

  const World &world_;
  const Leader &leader_;
  std::set<Key> running_, waiting_;  // after the step before; waiting ones that could run
};

}  // namespace ingot::simulation
