// Pages for sequences, in all cache groups at once: every operation happens in all groups or in none.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/page_pool.h"
#include "runtime/step.h"

namespace ingot {

struct PageGroup {
  int32_t pages;        // P, with the null page
  int32_t page_tokens;  // W
  int32_t window;       // tokens that a query sees, itself included; 0: all
};

// The pages of a group that `sequences` of `length` tokens may hold when they share the first `shared` and, but for
// `lag` steps, go on together.
int64_t pages_of_forks(const PageGroup &group, int32_t sequences, int32_t shared, int32_t length, int32_t lag);

// The pages of one sequence, and what of them its rank does not know yet. A value that BlockManager alone changes.
struct SequencePages {
  struct Group {
    std::vector<int32_t> pages;  // by column; 0: left the window
    std::vector<PageKey> keys;   // of the columns whose tokens are known; kept when the pages are released
    int32_t first = 0;           // columns before have left the window
    int32_t published = 0;       // columns
  };
  std::vector<Group> groups;
  PageKey root;       // the parent of the first page's key
  bool reuse = true;  // whether it finds pages of others, and they its own

  std::vector<PageUpdate> updates;  // not sent yet; the slot is filled in when they are
  std::vector<PageCopy> copies;
};

class BlockManager {
 public:
  // reuse: whether sequences find committed pages of earlier ones.
  BlockManager(std::vector<PageGroup> groups, bool reuse);

  const std::vector<PageGroup> &groups() const { return groups_; }
  const PagePool &pool(int32_t group) const { return pools_[static_cast<size_t>(group)]; }
  int64_t free_pages() const;  // of all groups

  // The longest sequence that has room when it is alone.
  int32_t capacity() const { return capacity_; }

  SequencePages empty(const PageKey &root = {}, bool reuse = true) const;

  // Positions [from, to) have cells that this sequence alone writes. False, and nothing has changed, when pages are
  // missing.
  bool reserve(SequencePages &sequence, int32_t from, int32_t to);
  // The largest `to` (at most the one given) that reserve() would grant; `from` if none.
  int32_t reach(const SequencePages &sequence, int32_t from, int32_t to) const;
  // `tokens` are in the cache for good: full pages are published, pages that left the window are dropped.
  void commit(SequencePages &sequence, std::span<const int32_t> tokens);
  // Pages behind `length` are dropped; never below what was committed.
  void truncate(SequencePages &sequence, int32_t length);
  // A second sequence over the same pages, none of whose tokens are in flight; whoever writes into a shared page first
  // gets a copy of it.
  SequencePages fork(const SequencePages &sequence);
  // Gives an empty sequence the longest prefix of `tokens` that every group still holds, at most `limit` tokens; its
  // length.
  int32_t match(SequencePages &sequence, std::span<const int32_t> tokens, int32_t limit);
  void release(SequencePages &sequence);

  // Adds, per group, the pages that a sequence will yet take to hold `length` tokens, the next of them at `from`, when
  // up to `chunk` are in flight at a time.
  void add_demand(const SequencePages &sequence, int32_t from, int32_t length, int32_t chunk,
                  std::vector<int64_t> &demand) const;
  // The same for `forks` sequences that are still to be forked from one of `shared` tokens.
  void add_fork_demand(int32_t forks, int32_t shared, int32_t length, int32_t chunk,
                       std::vector<int64_t> &demand) const;
  bool covers(const std::vector<int64_t> &demand) const;

 private:
  int32_t shared_columns(const SequencePages &sequence, size_t g, int32_t from) const;
  void own_columns(SequencePages &sequence, size_t g, int32_t from, int32_t to);
  void extend_keys(SequencePages &sequence, size_t g, std::span<const int32_t> tokens) const;
  void leave_window(SequencePages &sequence, size_t g, int32_t length);
  int32_t longest_prefix(const SequencePages &sequence, int32_t limit) const;
  bool holds(const SequencePages &sequence, size_t g, int32_t length) const;

  std::vector<PageGroup> groups_;
  std::vector<PagePool> pools_;
  bool reuse_;
  int32_t capacity_;
};

}  // namespace ingot
