// Which tokens of which sequences make the next step: in-flight batching, chunked prompts, preemption, steps ahead.
//
// Order is priority, then age. Running sequences come before waiting ones, and every running sequence that lacks one
// token gets it; what is left of the token budget goes to prompts, in order. A sequence that finds no page takes the
// pages of the last in order, which waits and is computed again. Nobody is let in before an earlier one of the same
// priority that could run.
//
// Steps may be scheduled ahead of the commit of those before them; they are in flight, run in order, and are committed
// in order. A page or slot that is given up may be taken by a later step at once, since what is in flight runs before
// it. Pages are taken from another sequence only when nothing is in flight, so a preempted sequence never has tokens
// under way.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "runtime/block_manager.h"
#include "runtime/policy.h"
#include "runtime/sequence.h"
#include "runtime/step.h"

namespace ingot {

struct SchedulerLimits {
  int32_t max_tokens;     // of one step
  int32_t max_sequences;  // slots
  int32_t max_rows;       // of one step
  Policy policy = Policy::max_utilization;
  int32_t lag = 0;  // steps that the caller schedules ahead
};

// One sequence's part of a step, for the leader alone.
struct ScheduledSequence {
  Sequence *sequence;  // NULL: it ended while the step was in flight; the results are of no use
  int32_t tokens;      // without drafts
  int32_t drafts;      // guesses behind them
  int32_t first_row, rows;
  bool prompt_rows;  // the rows are logits that the request wants to see
  bool samples;      // the last 1 + drafts rows give the next tokens
};

struct ScheduledStep {
  StepView message;
  bool for_leader;                           // some of its rows are the leader's to read
  std::vector<ScheduledSequence> sequences;  // in the order of the message
  std::vector<int32_t> drafts;               // those of all sequences, in order
  StepWriter writer;
};

// What a step's rows gave: per sequence how many tokens, and all of them in order. A sequence gets 1 to 1 + drafts of
// them if it samples, a guided one none.
struct StepTokens {
  std::vector<int32_t> counts, tokens;
};

struct SchedulerCounts {
  uint64_t steps = 0, prompt_tokens = 0, generated_tokens = 0, matched_tokens = 0, preemptions = 0;
  uint64_t drafted_tokens = 0, accepted_tokens = 0, forks = 0;
};

class Scheduler {
 public:
  Scheduler(const SchedulerLimits &limits, BlockManager &blocks);

  // The sequence must stay where it is until remove(). It must have room when it is alone.
  void add(Sequence &sequence);
  // Its pages and slot are free again, and what steps in flight give for it is dropped. Of one that is not here,
  // nothing happens.
  void remove(Sequence &sequence);
  // Adds `child`, whose tokens are set, as one that shares the pages of `parent`, which has nothing in flight and whose
  // committed tokens both begin with. Where a slot is missing, it waits and is computed by itself.
  void fork(const Sequence &parent, Sequence &child);
  // The next token of a guided sequence, which goes on.
  void extend(Sequence &sequence, int32_t token);

  // The next step, which is now the last in flight, or NULL when there is nothing to do before a commit.
  const ScheduledStep *schedule();
  // The steps in flight, oldest first.
  size_t in_flight() const { return flights_.size(); }
  const ScheduledStep &flight(size_t number) const { return *flights_[number]; }
  // What the oldest step computed is in the cache for good.
  void commit(const StepTokens &tokens);

  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  const std::vector<Sequence *> &running_sequences() const { return running_; }
  const std::vector<Sequence *> &waiting_sequences() const { return waiting_; }
  const SchedulerCounts &counts() const { return counts_; }

 private:
  struct Room {
    int32_t tokens, rows;
    int32_t sequences_to_come;  // running ones behind, each of which may want a token and a row
  };

  void schedule_running(Room &room);
  void schedule_waiting(Room &room);
  std::vector<Sequence *>::const_iterator first_waiting() const;
  bool overtakes(const Sequence &sequence) const;
  bool admit(std::vector<Sequence *>::const_iterator place);
  bool has_slot(const Sequence &candidate) const;
  bool has_room(const Sequence &candidate);
  void add_demand(const Sequence &sequence);
  int32_t chunk(const Sequence &sequence, const Room &room) const;
  int32_t find_drafts(Sequence &sequence, int32_t tokens, const Room &room);
  int32_t find_pages(Sequence &sequence, int32_t tokens);
  void put(Sequence &sequence, int32_t tokens, int32_t drafts, Room &room);
  void put_rows(ScheduledSequence &entry, int32_t first_token);
  void send_pages(Sequence &sequence);
  void ensure_a_row();
  void commit(const ScheduledSequence &entry, std::span<const int32_t> tokens);
  void preempt(Sequence &sequence);
  void enter_slot(Sequence &sequence);
  void leave_slot(Sequence &sequence);

  SchedulerLimits limits_;
  BlockManager &blocks_;
  std::vector<Sequence *> running_, waiting_;  // both in order
  std::vector<int32_t> free_slots_;
  std::deque<std::unique_ptr<ScheduledStep>> flights_;
  std::vector<std::unique_ptr<ScheduledStep>> spare_;  // whose memory is used again
  std::unique_ptr<ScheduledStep> step_;                // the one being made
  std::vector<int64_t> demand_;                        // of pages, per group
  SchedulerCounts counts_;
  bool preempted_ = false;  // in the step being made
  bool draining_ = false;   // pages are missing: no step more until those in flight are committed
};

}  // namespace ingot
