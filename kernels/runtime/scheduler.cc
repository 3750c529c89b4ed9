#include "runtime/scheduler.h"

#include <algorithm>

namespace ingot {
namespace {

void insert(std::vector<Sequence *> &sequences, Sequence &sequence) {
  const auto before = [](const Sequence *a, const Sequence *b) { return precedes(*a, *b); };
  sequences.insert(std::upper_bound(sequences.begin(), sequences.end(), &sequence, before), &sequence);
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits &limits, BlockManager &blocks) : limits_(limits), blocks_(blocks) {
  // A step has a token and a row for everyone who runs.
  const int32_t slots = std::min({limits.max_sequences, limits.max_tokens, limits.max_rows});
  for (int32_t slot = slots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

void Scheduler::add(Sequence &sequence) {
  sequence.length = sequence.given = static_cast<int32_t>(sequence.tokens.size());
  sequence.pages = blocks_.empty(static_cast<uint64_t>(sequence.adapter));
  insert(waiting_, sequence);
}

void Scheduler::remove(Sequence &sequence) {
  if (sequence.slot >= 0) {
    leave_slot(sequence);
    std::erase(running_, &sequence);
  } else {
    std::erase(waiting_, &sequence);
  }
}

void Scheduler::leave_slot(Sequence &sequence) {
  blocks_.release(sequence.pages);
  free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
}

const ScheduledStep *Scheduler::schedule() {
  writer_.start(counts_.steps);
  step_.sequences.clear();
  preempted_ = false;
  Room room{limits_.max_tokens, limits_.max_rows, 0};
  schedule_running(room);
  if (!preempted_) schedule_waiting(room);
  if (step_.sequences.empty()) return nullptr;
  ensure_a_row();
  step_.message = writer_.finish();
  ++counts_.steps;
  return &step_;
}

void Scheduler::schedule_running(Room &room) {
  for (size_t i = 0; i < running_.size(); ++i) {  // preemption takes from the end, never what was passed already
    Sequence &sequence = *running_[i];
    room.sequences_to_come = static_cast<int32_t>(running_.size() - i) - 1;
    const int32_t wanted = chunk(sequence, room);
    if (wanted == 0) continue;
    const int32_t granted = find_pages(sequence, wanted);
    if (sequence.slot >= 0 && granted > 0) put(sequence, granted, room);
  }
}

void Scheduler::schedule_waiting(Room &room) {
  room.sequences_to_come = 0;
  while (!waiting_.empty() && !free_slots_.empty() && room.tokens > 0 && room.rows > 0) {
    Sequence &sequence = *waiting_.front();
    if (!admit(sequence)) return;
    const int32_t tokens = std::min(
        chunk(sequence, room), blocks_.reach(sequence.pages, sequence.committed, sequence.length) - sequence.committed);
    blocks_.reserve(sequence.pages, sequence.committed, sequence.committed + tokens);
    put(sequence, tokens, room);
  }
}

// Moves the first waiting sequence into a slot, if all its tokens will find pages without taking anybody's.
bool Scheduler::admit(Sequence &sequence) {
  sequence.length = sequence.given = static_cast<int32_t>(sequence.tokens.size());
  sequence.committed = 0;
  if (!sequence.wants_prompt_rows || sequence.prompt_rows == sequence.prompt) {
    sequence.committed = blocks_.match(sequence.pages, sequence.tokens, sequence.length - 1);
  }
  if (!running_.empty() && !has_room(sequence)) {
    blocks_.release(sequence.pages);
    sequence.committed = 0;
    return false;
  }
  if (sequence.matched < 0) sequence.matched = sequence.committed;
  counts_.matched_tokens += static_cast<uint64_t>(sequence.committed);
  sequence.slot = free_slots_.back();
  sequence.entered = false;
  free_slots_.pop_back();
  waiting_.erase(waiting_.begin());
  insert(running_, sequence);
  return true;
}

bool Scheduler::has_room(const Sequence &candidate) const {
  std::vector<int64_t> demand;
  for (const Sequence *sequence : running_)
    blocks_.add_demand(sequence->pages, sequence->length + 1, limits_.max_tokens, demand);
  blocks_.add_demand(candidate.pages, candidate.length + 1, limits_.max_tokens, demand);
  return blocks_.covers(demand);
}

// How many tokens of the sequence the step has room for.
int32_t Scheduler::chunk(const Sequence &sequence, const Room &room) const {
  int32_t tokens = std::min(sequence.remaining(), room.tokens - room.sequences_to_come);
  const int32_t first = sequence.scheduled();
  const int32_t rows = room.rows - room.sequences_to_come;
  if (sequence.wants_prompt_rows && first < sequence.prompt)
    tokens = std::min(tokens, std::max(sequence.prompt_rows - first, 0) + rows);
  return std::max(0, tokens);
}

// Reserves pages for up to `tokens` tokens, taking those of the last running sequences if it must; for how many it
// found some.
int32_t Scheduler::find_pages(Sequence &sequence, int32_t tokens) {
  const int32_t from = sequence.scheduled();
  while (!blocks_.reserve(sequence.pages, from, from + tokens)) {
    Sequence &last = *running_.back();
    if (&last == &sequence) {
      const int32_t reached = blocks_.reach(sequence.pages, from, from + tokens);
      if (reached > from && blocks_.reserve(sequence.pages, from, reached)) return reached - from;
      preempt(sequence);
      return 0;
    }
    preempt(last);
  }
  return tokens;
}

void Scheduler::preempt(Sequence &sequence) {
  leave_slot(sequence);
  std::erase(running_, &sequence);
  sequence.committed = 0;
  insert(waiting_, sequence);
  preempted_ = true;
  ++counts_.preemptions;
}

void Scheduler::put(Sequence &sequence, int32_t tokens, Room &room) {
  const int32_t first_token = writer_.tokens(), from = sequence.scheduled();
  const bool completes = from + tokens == sequence.length;
  ScheduledSequence entry{&sequence, tokens, writer_.rows(), 0, false, sequence.generates && completes};
  writer_.add_sequence(sequence.slot, tokens, from, sequence.adapter, entry.samples);
  for (int32_t position = from; position < from + tokens; ++position) {
    writer_.add_token(position < sequence.given ? sequence.tokens[static_cast<size_t>(position)] : last_token_of_slot);
  }
  put_rows(entry, first_token);
  send_pages(sequence);
  sequence.in_flight += tokens;
  if (entry.samples) ++sequence.length;
  room.tokens -= tokens;
  room.rows -= entry.rows;
  step_.sequences.push_back(entry);
}

void Scheduler::put_rows(ScheduledSequence &entry, int32_t first_token) {
  const Sequence &sequence = *entry.sequence;
  const int32_t from = sequence.scheduled();
  int32_t position = entry.samples ? from + entry.tokens - 1 : from + entry.tokens;
  if (sequence.wants_prompt_rows && sequence.prompt_rows < std::min(sequence.prompt, from + entry.tokens)) {
    entry.prompt_rows = true;
    position = std::max(from, sequence.prompt_rows);
  }
  for (; position < from + entry.tokens; ++position, ++entry.rows) writer_.add_row(first_token + position - from);
}

void Scheduler::send_pages(Sequence &sequence) {
  if (!sequence.entered) {
    sequence.sampling.slot = sequence.slot;
    writer_.add(sequence.sampling);
    sequence.entered = true;
  }
  for (PageUpdate &update : sequence.pages.updates) {
    update.slot = sequence.slot;
    writer_.add(update);
  }
  for (const PageCopy &copy : sequence.pages.copies) writer_.add(copy);
  sequence.pages.updates.clear();
  sequence.pages.copies.clear();
}

// A step in the middle of prompts wants no logits; one row is computed all the same, so that no engine meets an empty
// tensor.
void Scheduler::ensure_a_row() {
  if (writer_.rows() == 0) writer_.add_row(writer_.tokens() - 1);
}

void Scheduler::commit(const ScheduledStep &step, std::span<const int32_t> tokens) {
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const ScheduledSequence &entry = step.sequences[i];
    Sequence &sequence = *entry.sequence;
    counts_.prompt_tokens += static_cast<uint64_t>(std::clamp(sequence.prompt - sequence.committed, 0, entry.tokens));
    sequence.in_flight -= entry.tokens;
    sequence.committed += entry.tokens;
    if (entry.prompt_rows) sequence.prompt_rows = std::min(sequence.prompt, sequence.committed);
    if (entry.samples) {
      sequence.tokens.push_back(tokens[i]);
      ++counts_.generated_tokens;
    }
    blocks_.commit(sequence.pages,
                   std::span<const int32_t>(sequence.tokens).first(static_cast<size_t>(sequence.committed)));
  }
}

}  // namespace ingot
