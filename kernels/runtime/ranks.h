// All ranks of an engine as one: each on its own thread, all replaying the same step messages. Rank 0 runs on the
// caller's thread, is the only one whose results are read, and with one rank nothing else is there.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "error.h"
#include "runtime/barrier.h"
#include "runtime/rank.h"
#include "runtime/step_runner.h"
#include "runtime/thread_comm.h"

namespace ingot {

class Ranks : public StepRunner {
 public:
  // Makes what takes the only rank's steps in its place: a simulated device. Empty: the rank does.
  using Wrap = std::function<std::unique_ptr<StepRunner>(Rank &)>;

  // One rank for each entry, in order; their rank, ranks and comm are filled in here. Throws Error, naming the rank.
  Ranks(const IngotEngineApi *api, std::vector<RankOptions> options);
  Ranks(const IngotEngineApi *api, const RankOptions &only) : Ranks(api, std::vector<RankOptions>{only}) {}
  Ranks(const IngotEngineApi *api, const RankOptions &only, const Wrap &wrap);
  ~Ranks() override;
  Ranks(const Ranks &) = delete;
  Ranks &operator=(const Ranks &) = delete;

  int32_t size() const { return static_cast<int32_t>(ranks_.size()); }
  const Rank &rank(int32_t number) const { return *ranks_[static_cast<size_t>(number)]; }

  // The same for all ranks.
  const IngotEngineSpec &spec() const { return ranks_[0]->spec(); }
  // Every rank gets a cache of so many pages.
  void bind(const std::vector<int32_t> &pages, int32_t max_sequences);

  // One step on every rank. Several ranks do not sample: what is launched, finish() computes. finish() gives rank 0's
  // results, or throws Error with the sentence of the rank that failed first, then and whenever it is called again.
  void launch(const StepView &step) override;
  StepResults finish() override;
  bool samples() const override { return followers_.empty() && first_->samples(); }
  bool can_sample(const SamplingChange &sampling) const override { return first_->can_sample(sampling); }

  int32_t hidden_width() const { return ranks_[0]->hidden_width(); }
  // Numbers of a token's vector, where a prompt may be vectors; 0: it may not.
  int32_t embedding_width() const { return ranks_[0]->embedding_width(); }

  // Rank 0's. The last tokens that stand there when a step begins go to every rank.
  Slots &slots() { return ranks_[0]->slots(); }
  const Cache &cache() const { return ranks_[0]->cache(); }

 private:
  void check_alike() const;
  void follow(size_t rank);
  void attempt(size_t rank);
  void give_last_tokens(const StepView &step);
  [[noreturn]] void rethrow();

  ThreadComm comm_;
  Barrier gate_;  // a step begins, a step has ended
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::unique_ptr<StepRunner> wrapped_;  // NULL: rank 0 takes its steps itself
  StepRunner *first_ = nullptr;          // what takes rank 0's steps
  std::deque<StepView> launched_;        // with several ranks, and not finished
  const StepView *step_ = nullptr;       // the one at hand; NULL at the gate: the end
  StepResults results_;
  std::vector<std::optional<Error>> errors_;  // by rank
  std::vector<std::thread> followers_;        // ranks 1, 2, …
};

}  // namespace ingot
