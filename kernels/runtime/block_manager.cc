#include "runtime/block_manager.h"

#include <algorithm>
#include <numeric>

namespace ingot {
namespace {

int32_t divide_up(int64_t tokens, int32_t page_tokens) {
  return static_cast<int32_t>((tokens + page_tokens - 1) / page_tokens);
}

int32_t count(const std::vector<int32_t> &pages) { return static_cast<int32_t>(pages.size()); }

// The most columns that the tokens seen from one position can touch.
int32_t window_columns(const PageGroup &group) { return divide_up(group.window - 1, group.page_tokens) + 1; }

}  // namespace

int64_t pages_of_forks(const PageGroup &group, int32_t sequences, int32_t shared, int32_t length, int32_t lag) {
  const int64_t whole = divide_up(length, group.page_tokens), own = whole - shared / group.page_tokens;
  const int64_t pages = whole + (sequences - 1) * own;
  if (!group.window) return pages;
  return std::min(pages, int64_t{sequences} * (window_columns(group) + 1 + divide_up(lag, group.page_tokens)));
}

BlockManager::BlockManager(std::vector<PageGroup> groups, bool reuse)
    : groups_(std::move(groups)), reuse_(reuse), capacity_(INT32_MAX) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    const PageGroup &group = groups_[g];
    pools_.emplace_back(group.pages);
    if (group.window && group.pages - 1 >= window_columns(group))
      continue;  // pages come back as fast as they are taken
    capacity_ = static_cast<int32_t>(std::min<int64_t>(capacity_, int64_t{group.pages - 1} * group.page_tokens));
  }
}

int64_t BlockManager::free_pages() const {
  int64_t pages = 0;
  for (const PagePool &pool : pools_) pages += pool.free_pages();
  return pages;
}

SequencePages BlockManager::empty(const PageKey &root, bool reuse) const {
  SequencePages sequence;
  sequence.groups.resize(groups_.size());
  sequence.root = root;
  sequence.reuse = reuse;
  return sequence;
}

// Columns from position `from` on that another sequence counts on, too: writing there means copying them first.
int32_t BlockManager::shared_columns(const SequencePages &sequence, size_t g, int32_t from) const {
  const auto &pages = sequence.groups[g].pages;
  int32_t shared = 0;
  for (int32_t column = from / groups_[g].page_tokens; column < count(pages); ++column)
    shared += pools_[g].references(pages[column]) > 1;
  return shared;
}

int32_t BlockManager::reach(const SequencePages &sequence, int32_t from, int32_t to) const {
  int64_t reached = to;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int64_t spare = pools_[g].free_pages() - shared_columns(sequence, g, from);
    reached = spare < 0 ? from : std::min(reached, (count(sequence.groups[g].pages) + spare) * groups_[g].page_tokens);
  }
  return static_cast<int32_t>(std::max<int64_t>(from, reached));
}

bool BlockManager::reserve(SequencePages &sequence, int32_t from, int32_t to) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    const int32_t added = divide_up(to, groups_[g].page_tokens) - count(sequence.groups[g].pages);
    if (std::max(0, added) + shared_columns(sequence, g, from) > pools_[g].free_pages()) return false;
  }
  for (size_t g = 0; g < groups_.size(); ++g) own_columns(sequence, g, from, to);
  return true;
}

void BlockManager::own_columns(SequencePages &sequence, size_t g, int32_t from, int32_t to) {
  auto &pages = sequence.groups[g].pages;
  const auto number = static_cast<int32_t>(g);
  for (int32_t column = from / groups_[g].page_tokens; column < count(pages); ++column) {
    if (pools_[g].references(pages[column]) == 1) {
      pools_[g].forget(pages[column]);
      continue;
    }
    const int32_t copy = pools_[g].take();
    sequence.copies.push_back({number, pages[column], copy});
    sequence.updates.push_back({number, 0, column, copy});
    pools_[g].drop(pages[column]);
    pages[column] = copy;
  }
  while (count(pages) < divide_up(to, groups_[g].page_tokens)) {
    sequence.updates.push_back({number, 0, count(pages), pools_[g].take()});
    pages.push_back(sequence.updates.back().page);
  }
}

void BlockManager::extend_keys(SequencePages &sequence, size_t g, std::span<const int32_t> tokens) const {
  auto &keys = sequence.groups[g].keys;
  const auto page_tokens = static_cast<size_t>(groups_[g].page_tokens);
  for (size_t column = keys.size(); column < tokens.size() / page_tokens; ++column) {
    const PageKey parent = column ? keys[column - 1] : sequence.root;
    keys.push_back(PageKey::of(parent, tokens.subspan(column * page_tokens, page_tokens)));
  }
}

void BlockManager::commit(SequencePages &sequence, std::span<const int32_t> tokens) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    SequencePages::Group &group = sequence.groups[g];
    if (reuse_ && sequence.reuse) {
      extend_keys(sequence, g, tokens);
      const auto full = static_cast<int32_t>(tokens.size()) / groups_[g].page_tokens;
      for (; group.published < full; ++group.published) {
        if (const int32_t page = group.pages[group.published]) pools_[g].publish(page, group.keys[group.published]);
      }
    }
    leave_window(sequence, g, static_cast<int32_t>(tokens.size()));
  }
}

// Drops the columns that a query at position `length` no longer sees.
void BlockManager::leave_window(SequencePages &sequence, size_t g, int32_t length) {
  if (!groups_[g].window) return;
  SequencePages::Group &group = sequence.groups[g];
  const int32_t gone = std::max(0, length - groups_[g].window + 1) / groups_[g].page_tokens;
  for (; group.first < std::min(gone, count(group.pages)); ++group.first) {
    int32_t &page = group.pages[group.first];
    if (!page) continue;
    pools_[g].drop(page);
    page = 0;
    sequence.updates.push_back({static_cast<int32_t>(g), 0, group.first, 0});
  }
}

void BlockManager::truncate(SequencePages &sequence, int32_t length) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    auto &pages = sequence.groups[g].pages;
    while (count(pages) > divide_up(length, groups_[g].page_tokens)) {
      if (pages.back()) pools_[g].drop(pages.back());
      pages.pop_back();
      sequence.updates.push_back({static_cast<int32_t>(g), 0, count(pages), 0});
    }
  }
}

SequencePages BlockManager::fork(const SequencePages &sequence) {
  SequencePages second = sequence;
  second.updates.clear();
  second.copies.clear();
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (int32_t column = 0; column < count(second.groups[g].pages); ++column) {
      const int32_t page = second.groups[g].pages[column];
      if (!page) continue;
      pools_[g].share(page);
      second.updates.push_back({static_cast<int32_t>(g), 0, column, page});
    }
  }
  return second;
}

// Whether group g holds every page that a query at position `length` sees.
bool BlockManager::holds(const SequencePages &sequence, size_t g, int32_t length) const {
  const PageGroup &group = groups_[g];
  const int32_t first = group.window ? std::max(0, length - group.window + 1) / group.page_tokens : 0;
  for (int32_t column = length / group.page_tokens - 1; column >= first; --column) {
    if (!pools_[g].find(sequence.groups[g].keys[column])) return false;
  }
  return true;
}

int32_t BlockManager::longest_prefix(const SequencePages &sequence, int32_t limit) const {
  int64_t grain = 1;
  for (size_t g = 0; g < groups_.size(); ++g) {
    grain = std::lcm(grain, groups_[g].page_tokens);
    if (groups_[g].window) continue;
    int32_t held = 0;
    while (held < limit / groups_[g].page_tokens && pools_[g].find(sequence.groups[g].keys[held])) ++held;
    limit = std::min(limit, held * groups_[g].page_tokens);
  }
  const auto held = [&](int32_t length) {
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (groups_[g].window && !holds(sequence, g, length)) return false;
    }
    return true;
  };
  int64_t length = limit / grain * grain;
  while (length > 0 && !held(static_cast<int32_t>(length))) length -= grain;
  return static_cast<int32_t>(length);
}

int32_t BlockManager::match(SequencePages &sequence, std::span<const int32_t> tokens, int32_t limit) {
  if (!reuse_ || !sequence.reuse || groups_.empty() || limit <= 0) return 0;
  for (size_t g = 0; g < groups_.size(); ++g) extend_keys(sequence, g, tokens);
  const int32_t length = longest_prefix(sequence, limit);
  for (size_t g = 0; g < groups_.size(); ++g) {
    SequencePages::Group &group = sequence.groups[g];
    const int32_t columns = length / groups_[g].page_tokens;
    group.first =
        groups_[g].window ? std::min(columns, std::max(0, length - groups_[g].window + 1) / groups_[g].page_tokens) : 0;
    group.published = columns;
    group.pages.assign(static_cast<size_t>(columns), 0);
    for (int32_t column = group.first; column < columns; ++column) {
      group.pages[column] = pools_[g].find(group.keys[column]);
      pools_[g].share(group.pages[column]);
      sequence.updates.push_back({static_cast<int32_t>(g), 0, column, group.pages[column]});
    }
  }
  return length;
}

void BlockManager::release(SequencePages &sequence) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    SequencePages::Group &group = sequence.groups[g];
    while (!group.pages.empty()) {  // the last page first: of two prefixes the shorter one outlives
      if (group.pages.back()) pools_[g].drop(group.pages.back());
      group.pages.pop_back();
    }
    group.first = group.published = 0;
  }
  sequence.updates.clear();
  sequence.copies.clear();
}

void BlockManager::add_demand(const SequencePages &sequence, int32_t from, int32_t length, int32_t chunk,
                              std::vector<int64_t> &demand) const {
  demand.resize(groups_.size(), 0);
  for (size_t g = 0; g < groups_.size(); ++g) {
    int32_t pages = divide_up(length, groups_[g].page_tokens) - count(sequence.groups[g].pages);
    if (groups_[g].window) {
      const int32_t held = count(sequence.groups[g].pages) - sequence.groups[g].first;
      pages = std::min(pages, window_columns(groups_[g]) + divide_up(chunk, groups_[g].page_tokens) - held);
    }
    demand[g] += std::max(0, pages) + (from < length ? shared_columns(sequence, g, from) : 0);
  }
}

void BlockManager::add_fork_demand(int32_t forks, int32_t shared, int32_t length, int32_t chunk,
                                   std::vector<int64_t> &demand) const {
  demand.resize(groups_.size(), 0);
  for (size_t g = 0; g < groups_.size(); ++g) {
    int32_t pages = divide_up(length, groups_[g].page_tokens) - shared / groups_[g].page_tokens;
    if (groups_[g].window)
      pages = std::min(pages, window_columns(groups_[g]) + divide_up(chunk, groups_[g].page_tokens));
    demand[g] += int64_t{forks} * std::max(0, pages);
  }
}

bool BlockManager::covers(const std::vector<int64_t> &demand) const {
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (demand[g] > pools_[g].free_pages()) return false;
  }
  return true;
}

}  // namespace ingot
