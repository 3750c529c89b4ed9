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
  sequence.committed = sequence.in_flight = 0;
  sequence.pages = blocks_.empty(sequence.root, sequence.reuse);
  insert(waiting_, sequence);
}

void Scheduler::remove(Sequence &sequence) {
  if (sequence.slot >= 0) {
    leave_slot(sequence);
    std::erase(running_, &sequence);
  } else {
    std::erase(waiting_, &sequence);
  }
  if (sequence.in_flight == 0) return;
  for (const auto &flight : flights_) {
    for (ScheduledSequence &entry : flight->sequences) {
      if (entry.sequence == &sequence) entry.sequence = nullptr;
    }
  }
  sequence.in_flight = 0;
}

void Scheduler::fork(const Sequence &parent, Sequence &child) {
  child.length = child.given = static_cast<int32_t>(child.tokens.size());
  child.committed = child.in_flight = 0;
  child.rests = false;
  child.drafts.clear();
  child.matched = std::max(0, parent.matched);
  child.prompt_rows = parent.prompt_rows;
  ++counts_.generated_tokens;  // the one behind the parent's
  if (parent.slot < 0 || free_slots_.empty() || overtakes(child)) {
    child.pages = blocks_.empty(child.root, child.reuse);
    insert(waiting_, child);
    return;
  }
  child.pages = blocks_.fork(parent.pages);
  child.committed = parent.committed;
  enter_slot(child);
  insert(running_, child);
  ++counts_.forks;
}

// Whether somebody waits who should run before. Who forks under guaranteed_no_evict has its place already.
bool Scheduler::overtakes(const Sequence &sequence) const {
  if (limits_.policy == Policy::guaranteed_no_evict) return false;
  const auto first = first_waiting();
  return first != waiting_.end() && precedes(**first, sequence);
}

std::vector<Sequence *>::const_iterator Scheduler::first_waiting() const {
  return std::find_if(waiting_.begin(), waiting_.end(), [](const Sequence *sequence) { return !sequence->rests; });
}

void Scheduler::extend(Sequence &sequence, int32_t token) {
  sequence.tokens.push_back(token);
  sequence.length = sequence.given = static_cast<int32_t>(sequence.tokens.size());
  sequence.rests = false;
  ++counts_.generated_tokens;
}

void Scheduler::enter_slot(Sequence &sequence) {
  sequence.slot = free_slots_.back();
  sequence.entered = false;
  free_slots_.pop_back();
}

void Scheduler::leave_slot(Sequence &sequence) {
  blocks_.release(sequence.pages);
  free_slots_.push_back(sequence.slot);
  sequence.slot = -1;
}

const ScheduledStep *Scheduler::schedule() {
  if (draining_ && !flights_.empty()) return nullptr;
  draining_ = preempted_ = false;
  if (spare_.empty()) spare_.push_back(std::make_unique<ScheduledStep>());
  step_ = std::move(spare_.back());
  spare_.pop_back();
  step_->writer.start(counts_.steps);
  step_->sequences.clear();
  step_->drafts.clear();
  step_->for_leader = false;
  Room room{limits_.max_tokens, limits_.max_rows, 0};
  schedule_running(room);
  if (!preempted_ && !draining_) schedule_waiting(room);
  // Everybody who runs rests, and holds what those need for whom they rest.
  while (step_->sequences.empty() && flights_.empty() && !running_.empty() && !waiting_.empty()) {
    preempt(*running_.back());
    schedule_waiting(room);
  }
  if (step_->sequences.empty()) {
    spare_.push_back(std::move(step_));
    return nullptr;
  }
  ensure_a_row();
  step_->message = step_->writer.finish();
  ++counts_.steps;
  flights_.push_back(std::move(step_));
  return flights_.back().get();
}

void Scheduler::schedule_running(Room &room) {
  for (size_t i = 0; i < running_.size(); ++i) {  // preemption takes from the end, never what was passed already
    Sequence &sequence = *running_[i];
    room.sequences_to_come = static_cast<int32_t>(running_.size() - i) - 1;
    const int32_t wanted = chunk(sequence, room);
    if (wanted == 0) continue;
    if (const int32_t drafts = find_drafts(sequence, wanted, room)) {
      put(sequence, wanted, drafts, room);
      continue;
    }
    const int32_t granted = find_pages(sequence, wanted);
    if (draining_) return;
    if (sequence.slot >= 0 && granted > 0) put(sequence, granted, 0, room);
  }
}

void Scheduler::schedule_waiting(Room &room) {
  room.sequences_to_come = 0;
  while (!free_slots_.empty() && room.tokens > 0 && room.rows > 0) {
    const auto first = first_waiting();
    if (first == waiting_.end()) return;
    Sequence &sequence = **first;
    if (!has_slot(sequence) || !admit(first)) return;
    const int32_t tokens = std::min(
        chunk(sequence, room), blocks_.reach(sequence.pages, sequence.committed, sequence.length) - sequence.committed);
    blocks_.reserve(sequence.pages, sequence.committed, sequence.committed + tokens);
    if (tokens > 0) put(sequence, tokens, 0, room);
  }
}

// Moves a waiting sequence into a slot, if the policy finds pages for it.
bool Scheduler::admit(std::vector<Sequence *>::const_iterator place) {
  Sequence &sequence = **place;
  sequence.length = sequence.given = static_cast<int32_t>(sequence.tokens.size());
  sequence.committed = 0;
  if (!sequence.wants_prompt_rows || sequence.prompt_rows == sequence.prompt) {
    const int32_t computed = std::min(sequence.length, sequence.limit);
    sequence.committed = blocks_.match(sequence.pages, sequence.tokens, computed - 1);
  }
  if (!running_.empty() && !has_room(sequence)) {
    blocks_.release(sequence.pages);
    sequence.committed = 0;
    return false;
  }
  if (sequence.matched < 0) sequence.matched = sequence.committed;
  counts_.matched_tokens += static_cast<uint64_t>(sequence.committed);
  waiting_.erase(place);
  enter_slot(sequence);
  insert(running_, sequence);
  return true;
}

bool Scheduler::has_slot(const Sequence &candidate) const {
  if (limits_.policy == Policy::max_utilization) return true;
  int64_t wanted = 1 + candidate.forks;
  for (const Sequence *sequence : running_) wanted += sequence->forks;
  return wanted <= static_cast<int64_t>(free_slots_.size());
}

bool Scheduler::has_room(const Sequence &candidate) {
  demand_.assign(blocks_.groups().size(), 0);
  for (const Sequence *sequence : running_) add_demand(*sequence);
  add_demand(candidate);
  return blocks_.covers(demand_);
}

void Scheduler::add_demand(const Sequence &sequence) {
  const int32_t from = sequence.scheduled(), chunk = limits_.max_tokens * (1 + limits_.lag);
  if (limits_.policy == Policy::max_utilization) {
    blocks_.add_demand(sequence.pages, from, sequence.length + 1, chunk, demand_);
    return;
  }
  blocks_.add_demand(sequence.pages, from, sequence.limit, chunk, demand_);
  if (sequence.forks) blocks_.add_fork_demand(sequence.forks, sequence.prompt, sequence.limit, chunk, demand_);
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

// Reserves pages for `tokens` tokens and as many drafts behind them as the step, the request and free pages have room
// for; how many. 0: nothing was reserved.
int32_t Scheduler::find_drafts(Sequence &sequence, int32_t tokens, const Room &room) {
  const int32_t from = sequence.scheduled(), end = from + tokens;
  if (sequence.drafts.empty() || end != sequence.length || from < sequence.prompt) return 0;
  int32_t drafts = std::min({static_cast<int32_t>(sequence.drafts.size()), sequence.limit - sequence.length,
                             room.tokens - room.sequences_to_come - tokens, room.rows - room.sequences_to_come - 1});
  drafts = std::min(drafts, blocks_.reach(sequence.pages, from, end + std::max(0, drafts)) - end);
  if (drafts <= 0) return 0;
  blocks_.reserve(sequence.pages, from, end + drafts);
  return drafts;
}

// Reserves pages for up to `tokens` tokens, taking those of the last running sequences if it must; for how many it
// found some.
int32_t Scheduler::find_pages(Sequence &sequence, int32_t tokens) {
  const int32_t from = sequence.scheduled();
  while (!blocks_.reserve(sequence.pages, from, from + tokens)) {
    draining_ = !flights_.empty();
    if (draining_) return 0;
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
  sequence.drafts.clear();
  insert(waiting_, sequence);
  preempted_ = true;
  ++counts_.preemptions;
}

void Scheduler::put(Sequence &sequence, int32_t tokens, int32_t drafts, Room &room) {
  StepWriter &writer = step_->writer;
  const int32_t first_token = writer.tokens(), from = sequence.scheduled();
  const bool completes = from + tokens == sequence.length;
  ScheduledSequence entry{&sequence, tokens, drafts, writer.rows(), 0, false, sequence.generates && completes};
  for (int32_t position = from; position < from + tokens; ++position) {
    if (const auto vector = sequence.embedding(position); !vector.empty())
      writer.add_embedding(vector);
    else
      writer.add_token(position < sequence.given ? sequence.tokens[static_cast<size_t>(position)] : last_token_of_slot);
  }
  for (int32_t draft = 0; draft < drafts; ++draft) {
    writer.add_token(sequence.drafts[static_cast<size_t>(draft)]);
    step_->drafts.push_back(sequence.drafts[static_cast<size_t>(draft)]);
  }
  sequence.drafts.clear();
  put_rows(entry, first_token);
  const bool for_leader = entry.prompt_rows || (entry.samples && sequence.needs_leader);
  step_->for_leader |= for_leader;
  writer.add_sequence(sequence.slot, tokens + drafts, from, sequence.adapter,
                      for_leader      ? leader_samples
                      : entry.samples ? rank_samples
                                      : nobody_samples);
  send_pages(sequence);
  sequence.in_flight += tokens + drafts;
  if (entry.samples && !sequence.guided) ++sequence.length;
  room.tokens -= tokens + drafts;
  room.rows -= entry.rows;
  counts_.drafted_tokens += static_cast<uint64_t>(drafts);
  step_->sequences.push_back(entry);
}

void Scheduler::put_rows(ScheduledSequence &entry, int32_t first_token) {
  const Sequence &sequence = *entry.sequence;
  const int32_t from = sequence.scheduled(), to = from + entry.tokens + entry.drafts;
  int32_t position = entry.samples ? from + entry.tokens - 1 : to;
  const int32_t wanted = std::max(from, sequence.prompt_rows);
  if (sequence.wants_prompt_rows && wanted < std::min(sequence.prompt, from + entry.tokens)) {
    entry.prompt_rows = true;
    position = wanted;
  }
  for (; position < to; ++position, ++entry.rows) step_->writer.add_row(first_token + position - from);
}

void Scheduler::send_pages(Sequence &sequence) {
  StepWriter &writer = step_->writer;
  if (!sequence.entered) {
    sequence.sampling.slot = sequence.slot;
    writer.add(sequence.sampling);
    sequence.entered = true;
  }
  for (PageUpdate &update : sequence.pages.updates) {
    update.slot = sequence.slot;
    writer.add(update);
  }
  for (const PageCopy &copy : sequence.pages.copies) writer.add(copy);
  sequence.pages.updates.clear();
  sequence.pages.copies.clear();
}

// A step in the middle of prompts wants no logits; one row is computed all the same, so that no engine meets an empty
// tensor.
void Scheduler::ensure_a_row() {
  if (step_->writer.rows() == 0) step_->writer.add_row(step_->writer.tokens() - 1);
}

void Scheduler::commit(const StepTokens &tokens) {
  const ScheduledStep &step = *flights_.front();
  std::span<const int32_t> rest(tokens.tokens);
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const auto count = static_cast<size_t>(tokens.counts[i]);
    if (step.sequences[i].sequence) commit(step.sequences[i], rest.first(count));
    rest = rest.subspan(count);
  }
  spare_.push_back(std::move(flights_.front()));
  flights_.pop_front();
}

void Scheduler::commit(const ScheduledSequence &entry, std::span<const int32_t> tokens) {
  Sequence &sequence = *entry.sequence;
  counts_.prompt_tokens += static_cast<uint64_t>(std::clamp(sequence.prompt - sequence.committed, 0, entry.tokens));
  const auto accepted = static_cast<int32_t>(tokens.empty() ? 0 : tokens.size() - 1);
  sequence.in_flight -= entry.tokens + entry.drafts;
  sequence.committed += entry.tokens + accepted;
  if (entry.prompt_rows) sequence.prompt_rows = std::min(sequence.prompt, sequence.committed);
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  counts_.generated_tokens += tokens.size();
  counts_.accepted_tokens += static_cast<uint64_t>(accepted);
  if (entry.drafts) {
    sequence.length = static_cast<int32_t>(sequence.tokens.size());
    blocks_.truncate(sequence.pages, sequence.committed);
  }
  if (entry.samples && sequence.guided) sequence.rests = true;
  blocks_.commit(sequence.pages,
                 std::span<const int32_t>(sequence.tokens).first(static_cast<size_t>(sequence.committed)));
}

}  // namespace ingot
