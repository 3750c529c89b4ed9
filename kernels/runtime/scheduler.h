// Which tokens of which sequences make the next step: in-flight batching, chunked prompts, preemption.
//
// Order is priority, then age. Running sequences come before waiting ones, and every running sequence that lacks one
// token gets it; what is left of the token budget goes to prompts, in order. A sequence that finds no page takes the
// pages of the last in order, which waits and is computed again. Nobody is overtaken by a later one of the same
// priority.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/block_manager.h"
#include "runtime/sequence.h"
#include "runtime/step.h"

namespace ingot {

struct SchedulerLimits {
  int32_t max_tokens;     // of one step
  int32_t max_sequences;  // slots
  int32_t max_rows;       // of one step
};

// One sequence's part of a step, for the leader alone.
struct ScheduledSequence {
  Sequence *sequence;
  int32_t tokens, first_row, rows;
  bool prompt_rows;  // the rows are logits that the request wants to see
  bool samples;      // the last row gives the next token
};

struct ScheduledStep {
  StepView message;
  std::vector<ScheduledSequence> sequences;
};

struct SchedulerCounts {
  uint64_t steps = 0, prompt_tokens = 0, generated_tokens = 0, matched_tokens = 0, preemptions = 0;
};

class Scheduler {
 public:
  Scheduler(const SchedulerLimits &limits, BlockManager &blocks);

  // The sequence must stay where it is until remove(). It must have room when it is alone.
  void add(Sequence &sequence);
  // Its pages and slot are free again.
  void remove(Sequence &sequence);

  // The next step, or NULL when there is nothing to do. Valid until the next call.
  const ScheduledStep *schedule();
  // What the step computed is in the cache for good; tokens[i] is the next token of its i-th sequence, if that one
  // samples.
  void commit(const ScheduledStep &step, std::span<const int32_t> tokens);

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
  bool admit(Sequence &sequence);
  bool has_room(const Sequence &candidate) const;
  int32_t chunk(const Sequence &sequence, const Room &room) const;
  int32_t find_pages(Sequence &sequence, int32_t tokens);
  void put(Sequence &sequence, int32_t tokens, Room &room);
  void put_rows(ScheduledSequence &entry, int32_t first_token);
  void send_pages(Sequence &sequence);
  void ensure_a_row();
  void preempt(Sequence &sequence);
  void leave_slot(Sequence &sequence);

  SchedulerLimits limits_;
  BlockManager &blocks_;
  std::vector<Sequence *> running_, waiting_;  // both in order
  std::vector<int32_t> free_slots_;
  StepWriter writer_;
  ScheduledStep step_;
  SchedulerCounts counts_;
  bool preempted_ = false;  // in the step being made
};

}  // namespace ingot
