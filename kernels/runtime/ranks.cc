#include "runtime/ranks.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "ingot.h"

namespace ingot {
namespace {

std::string named(size_t rank, const std::string &sentence) { return "rank " + std::to_string(rank) + ": " + sentence; }

bool alike(const IngotCacheGroup &a, const IngotCacheGroup &b) {
  return std::strcmp(a.kind, b.kind) == 0 && a.page_tokens == b.page_tokens && a.window == b.window &&
         a.n_tensors == b.n_tensors;
}

bool alike(const IngotEngineSpec &a, const IngotEngineSpec &b) {
  if (a.vocab != b.vocab || a.n_groups != b.n_groups || a.max_tokens != b.max_tokens || a.max_rows != b.max_rows ||
      a.max_sequences != b.max_sequences || a.max_length != b.max_length || a.max_pages != b.max_pages) {
    return false;
  }
  for (int32_t g = 0; g < a.n_groups; ++g) {
    if (!alike(a.groups[g], b.groups[g])) return false;
  }
  return true;
}

}  // namespace

Ranks::Ranks(const IngotEngineApi *api, std::vector<RankOptions> options)
    : comm_(static_cast<int32_t>(options.size())),
      gate_(static_cast<int32_t>(options.size())),
      errors_(options.size()) {
  for (size_t rank = 0; rank < options.size(); ++rank) {
    options[rank].rank = static_cast<int32_t>(rank);
    options[rank].ranks = static_cast<int32_t>(options.size());
    options[rank].comm = options.size() > 1 ? comm_.of(static_cast<int32_t>(rank)) : nullptr;
    try {
      ranks_.push_back(std::make_unique<Rank>(api, options[rank]));
    } catch (const Error &error) {
      if (options.size() == 1) throw;
      throw Error(error.status, named(rank, error.what()));
    }
  }
  check_alike();
  first_ = ranks_[0].get();
  try {
    for (size_t rank = 1; rank < ranks_.size(); ++rank) followers_.emplace_back([this, rank] { follow(rank); });
  } catch (const std::system_error &error) {
    gate_.break_up();
    for (std::thread &follower : followers_) follower.join();
    fail(INGOT_MACHINE, "a thread for each of %zu ranks cannot be had: %s; build the engine for fewer ranks",
         ranks_.size(), error.what());
  }
}

Ranks::Ranks(const IngotEngineApi *api, const RankOptions &only, const Wrap &wrap) : Ranks(api, only) {
  if (!wrap) return;
  wrapped_ = wrap(*ranks_[0]);
  first_ = wrapped_.get();
}

Ranks::~Ranks() {
  if (followers_.empty()) return;
  step_ = nullptr;
  gate_.wait();
  for (std::thread &follower : followers_) follower.join();
}

void Ranks::check_alike() const {
  for (size_t rank = 1; rank < ranks_.size(); ++rank) {
    if (!alike(spec(), ranks_[rank]->spec())) {
      fail(INGOT_FOLDER, "rank%zu was built with other limits or cache groups than rank0; build the engine again",
           rank);
    }
  }
}

void Ranks::bind(const std::vector<int32_t> &pages, int32_t max_sequences) {
  for (const auto &rank : ranks_) rank->bind(pages, max_sequences);
}

void Ranks::launch(const StepView &step) {
  if (followers_.empty()) return first_->launch(step);
  launched_.push_back(step);
}

StepResults Ranks::finish() {
  if (followers_.empty()) return first_->finish();
  if (!comm_.failure().empty()) rethrow();
  if (launched_.empty()) fail(INGOT_FAILED, "a step is to be finished, and none was launched");
  const StepView step = launched_.front();
  launched_.pop_front();
  give_last_tokens(step);
  step_ = &step;
  gate_.wait();
  attempt(0);
  gate_.wait();
  if (!comm_.failure().empty()) rethrow();
  return results_;
}

// The followers wait at the gate, so their slots are nobody's. A slot that is out of range is for the ranks to refuse.
void Ranks::give_last_tokens(const StepView &step) {
  const Slots &slots = ranks_[0]->slots();
  for (const int32_t slot : step.slots_S) {
    if (slot < 0 || slot >= slots.size()) continue;
    for (size_t rank = 1; rank < ranks_.size(); ++rank)
      ranks_[rank]->slots().set_last_token(slot, slots.last_token(slot));
  }
}

void Ranks::follow(size_t rank) {
  while (gate_.wait() && step_) {
    attempt(rank);
    gate_.wait();
  }
}

// One rank's step. If it fails, whoever waits for it in a collective is let go.
void Ranks::attempt(size_t rank) {
  std::optional<Error> &error = errors_[rank];
  try {
    ranks_[rank]->launch(*step_);
    const StepResults results = ranks_[rank]->finish();
    if (rank == 0) results_ = results;
    return;
  } catch (const Error &thrown) {
    error.emplace(thrown.status, named(rank, thrown.what()));
  } catch (const std::bad_alloc &) {
    error.emplace(INGOT_MACHINE, named(rank,
                                       "memory ran out in a step; open the engine with fewer cache_bytes or "
                                       "max_sequences"));
  } catch (const std::exception &thrown) {
    error.emplace(INGOT_FAILED, named(rank, thrown.what()));
  }
  comm_.fail(error->what());
}

void Ranks::rethrow() {
  const std::string sentence = comm_.failure();
  for (const std::optional<Error> &error : errors_) {
    if (error && error->what() == sentence) throw *error;
  }
  throw Error(INGOT_FAILED, sentence);
}

}  // namespace ingot
