// The one loop that decides: schedules and launches steps ahead, waits for the oldest, samples what the rank did not,
// commits, says what happened. Without threads or a clock of its own, so that a simulation can drive it.
//
// Where the rank samples, a step is launched when it is scheduled, unless one in flight has rows for the leader, whose
// tokens are then still to come. Where it does not, every step is launched by itself. Who draws a request's tokens
// follows from the request alone, so that they are the same when it is computed again.
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
#include "runtime/policy.h"
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
  Policy policy = Policy::max_utilization;
  int32_t lag = 0;  // steps scheduled ahead of the one that is waited for, 0 to most_lag
  // Guesses what follows `tokens`; a step then checks several tokens at once. Empty: nothing is guessed.
  std::function<void(std::span<const int32_t> tokens, std::vector<int32_t> &drafts)> draft = {};
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

  bool has_work() const { return !jobs_.empty() || launched_ > 0; }
  // What happened since the last call, in order.
  std::vector<Event> take_events();
  Statistics statistics() const;

  const BlockManager &blocks() const { return blocks_; }
  const Scheduler &scheduler() const { return scheduler_; }

 private:
  // What a step's rows gave one of its sequences, by value: the request may end before its turn comes.
  struct Answer {
    uint64_t id = 0;  // 0: the sequence has ended already
    int32_t index = 0;
    bool samples = false;
    std::string failure;
  };
  struct Fork {
    uint64_t id;
    int32_t index;
    Sampled sampled;
  };

  Job &job(const Sequence &sequence) { return *jobs_.at(sequence.id); }
  bool needs_leader(const Job &job, const Choice &choice) const;
  void schedule_ahead();
  void launch_ready();
  StepResults finish();
  void guess();
  void note_start(const ScheduledStep &step, double now);
  void read_results(const ScheduledStep &step, const StepResults &results);
  void read_entry(const ScheduledStep &step, size_t number, size_t first_draft, const StepResults &results);
  void read_token(const Sequence &sequence, const ScheduledSequence &entry, const IngotSampledToken &sampled);
  void read_rows(Job &job, const ScheduledSequence &entry, std::span<const int32_t> drafts, std::span<float> logits_NV);
  void copy_prompt_rows(const Job &job, const ScheduledSequence &entry, const StepResults &results);
  std::span<float> row(std::span<float> logits_NV, int32_t number) const;
  Sampled sample(Choice &choice, std::span<float> logits_V, std::span<const int32_t> known, int32_t position);
  void start_forks();
  void settle(const Answer &answer, std::span<const Sampled> sampled);
  void take(Job &job, Choice &choice, const Sampled &sampled);
  void advance_beams(Job &job);
  void move_beams(Job &job, const std::vector<BeamSearch::Step> &steps);
  void end_choice(Job &job, Choice &choice, IngotFinish reason);
  void end_all(Job &job, IngotFinish reason, const std::string &sentence = "");
  void close(Job &job, IngotFinish reason);

  Ranks &ranks_;
  Vocabulary vocabulary_;
  LeaderOptions options_;
  std::function<double()> clock_;
  BlockManager blocks_;
  Scheduler scheduler_;
  size_t launched_ = 0;      // of the steps in flight, the oldest ones
  bool last_waits_ = false;  // behind the last one launched none may be before it is finished
  int32_t longest_;          // tokens of one sequence
  Sampler sampler_;
  std::unordered_map<uint64_t, std::unique_ptr<Job>> jobs_;
  std::vector<Answer> answers_;  // of the step at hand, by sequence
  StepTokens tokens_;
  std::vector<Sampled> sampled_;  // by token
  std::vector<Fork> forks_;       // first tokens of the sequences that its prompts fork into
  std::vector<Event> events_;
  Statistics statistics_;
};

}  // namespace ingot
