// The one loop that decides: schedules a step, has it run, samples, commits, says what happened. Without threads or a
// clock of its own, so that a simulation can drive it.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "files/token_bytes.h"
#include "runtime/block_manager.h"
#include "runtime/event.h"
#include "runtime/job.h"
#include "runtime/ranks.h"
#include "runtime/request.h"
#include "runtime/sampler.h"
#include "runtime/scheduler.h"

namespace ingot {

struct LeaderOptions {
  int32_t max_sequences;
  int32_t token_budget;
  std::vector<int32_t> end_ids;
  bool reuse = true;  // prefixes of earlier requests
};

struct Statistics {
  SchedulerCounts counts;
  uint64_t requests = 0, finished[5] = {};  // by IngotFinish
  size_t running = 0, waiting = 0;
  int64_t free_pages = 0;
};

class Leader {
 public:
  // The ranks are bound; tokens.size() 0: there is no text. `clock` gives seconds.
  Leader(Ranks &ranks, const TokenBytes &tokens, const LeaderOptions &options, std::function<double()> clock);

  RequestLimits limits() const;
  void add(Request request);
  // Of a request that has ended already or never was: nothing happens.
  void cancel(uint64_t id);
  void cancel_all();
  // False when there is nothing to do. Throws Error when the engine failed; fail_all() must follow.
  bool step();
  // Ends every request with INGOT_ERROR and this sentence.
  void fail_all(const std::string &sentence);

  bool has_work() const { return !jobs_.empty(); }
  // What happened since the last call, in order.
  std::vector<Event> take_events();
  Statistics statistics() const;

  const BlockManager &blocks() const { return blocks_; }
  const Scheduler &scheduler() const { return scheduler_; }

 private:
  struct Answer {
    Sampled sampled;
    std::string failure;
  };

  Job &job(const Sequence &sequence) { return *jobs_.at(sequence.id); }
  void read_rows(const ScheduledStep &step, std::span<float> logits_NV);
  void copy_prompt_rows(const Job &job, const ScheduledSequence &entry, std::span<const float> logits_NV);
  Sampled sample(Job &job, std::span<float> logits_V);
  void settle(Job &job, const ScheduledSequence &entry, Answer &answer);
  void finish(Job &job, IngotFinish reason, const std::string &sentence = "");

  Ranks &ranks_;
  Vocabulary vocabulary_;
  LeaderOptions options_;
  std::function<double()> clock_;
  BlockManager blocks_;
  Scheduler scheduler_;
  Sampler sampler_;
  std::unordered_map<uint64_t, std::unique_ptr<Job>> jobs_;
  std::vector<Answer> answers_;  // of the step at hand, by sequence
  std::vector<int32_t> next_tokens_;
  std::vector<Event> events_;
  Statistics statistics_;
};

}  // namespace ingot
