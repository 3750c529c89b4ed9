#include "runtime/leader.h"

#include <algorithm>
#include <utility>

#include "error.h"
#include "runtime/prompt_rows.h"

namespace ingot {
namespace {

std::vector<PageGroup> groups_of(const Ranks &ranks) {
  std::vector<PageGroup> groups;
  for (int32_t g = 0; g < ranks.spec().n_groups; ++g) {
    const IngotCacheGroup &group = ranks.spec().groups[g];
    groups.push_back({ranks.cache().pages()[static_cast<size_t>(g)], group.page_tokens, group.window});
  }
  return groups;
}

SchedulerLimits limits_of(const Ranks &ranks, const LeaderOptions &options) {
  return {options.token_budget, options.max_sequences, ranks.spec().max_rows};
}

}  // namespace

Leader::Leader(Ranks &ranks, const TokenBytes &tokens, const LeaderOptions &options, std::function<double()> clock)
    : ranks_(ranks),
      vocabulary_{tokens, {options.end_ids.begin(), options.end_ids.end()}},
      options_(options),
      clock_(std::move(clock)),
      blocks_(groups_of(ranks), options.reuse),
      scheduler_(limits_of(ranks, options), blocks_) {}

RequestLimits Leader::limits() const {
  return {ranks_.spec().vocab, ranks_.spec().max_length, blocks_.capacity(), vocabulary_.bytes.size() > 0};
}

void Leader::add(Request request) {
  auto job = std::make_unique<Job>(std::move(request), vocabulary_);
  scheduler_.add(job->sequence);
  ++statistics_.requests;
  const uint64_t id = job->sequence.id;
  jobs_.emplace(id, std::move(job));
}

void Leader::cancel(uint64_t id) {
  if (const auto found = jobs_.find(id); found != jobs_.end()) finish(*found->second, INGOT_CANCELLED);
}

void Leader::cancel_all() {
  while (!jobs_.empty()) finish(*jobs_.begin()->second, INGOT_CANCELLED);
}

void Leader::fail_all(const std::string &sentence) {
  while (!jobs_.empty()) finish(*jobs_.begin()->second, INGOT_ERROR, sentence);
}

bool Leader::step() {
  const double began = clock_();
  const ScheduledStep *step = scheduler_.schedule();
  if (!step) return false;
  for (const ScheduledSequence &entry : step->sequences) {
    Job &started = job(*entry.sequence);
    if (started.first_step_s < 0) started.first_step_s = began;
  }
  read_rows(*step, ranks_.run(step->message));
  scheduler_.commit(*step, next_tokens_);
  for (size_t i = 0; i < step->sequences.size(); ++i)
    settle(job(*step->sequences[i].sequence), step->sequences[i], answers_[i]);
  return true;
}

// The next tokens, and the logits that requests asked for.
void Leader::read_rows(const ScheduledStep &step, std::span<float> logits_NV) {
  const auto vocab = static_cast<size_t>(ranks_.spec().vocab);
  answers_.assign(step.sequences.size(), {});
  next_tokens_.assign(step.sequences.size(), 0);
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const ScheduledSequence &entry = step.sequences[i];
    const Sequence &sequence = *entry.sequence;
    const auto row = static_cast<size_t>(entry.first_row + entry.rows - 1);
    try {
      if (entry.prompt_rows) copy_prompt_rows(job(sequence), entry, logits_NV);
      if (entry.samples) answers_[i].sampled = sample(job(sequence), logits_NV.subspan(row * vocab, vocab));
    } catch (const Error &error) {
      answers_[i].failure = error.what();
    }
    if (!entry.samples) continue;
    next_tokens_[i] = std::max(answers_[i].sampled.token, 0);
    ranks_.slots().set_last_token(sequence.slot, next_tokens_[i]);
  }
}

Sampled Leader::sample(Job &job, std::span<float> logits_V) {
  const SamplingChange &sampling = ranks_.slots().sampling(job.sequence.slot);
  const int32_t position = job.sequence.scheduled();
  if (!job.processor) return sampler_.sample(logits_V, sampling, position);
  job.processor->follow(job.sequence.tokens, position);
  return sampler_.sample(logits_V, sampling, position, *job.processor);
}

void Leader::copy_prompt_rows(const Job &job, const ScheduledSequence &entry, std::span<const float> logits_NV) {
  const auto vocab = static_cast<size_t>(ranks_.spec().vocab);
  const std::span<const float> rows =
      logits_NV.subspan(static_cast<size_t>(entry.first_row) * vocab, static_cast<size_t>(entry.rows) * vocab);
  const std::span<const int32_t> prompt(job.sequence.tokens.data(), static_cast<size_t>(job.sequence.prompt));
  deliver_prompt_rows(job.request, prompt, job.sequence.prompt_rows, rows, ranks_.spec().vocab, sampler_);
}

void Leader::settle(Job &job, const ScheduledSequence &entry, Answer &answer) {
  if (!answer.failure.empty()) return finish(job, INGOT_ERROR, answer.failure);
  if (!entry.samples) {
    if (!job.sequence.generates && job.sequence.committed == job.sequence.prompt) finish(job, INGOT_LENGTH);
    return;
  }
  if (job.first_token_s < 0) job.first_token_s = clock_();
  Job::Taken taken = job.take(answer.sampled, vocabulary_, limits().length());
  events_.push_back(std::move(taken.event));
  if (taken.finish != INGOT_RUNNING) finish(job, taken.finish);
}

void Leader::finish(Job &job, IngotFinish reason, const std::string &sentence) {
  events_.push_back(job.finish(reason, sentence, clock_()));
  ++statistics_.finished[reason];
  scheduler_.remove(job.sequence);
  const uint64_t id = job.sequence.id;
  jobs_.erase(id);
}

std::vector<Event> Leader::take_events() { return std::exchange(events_, {}); }

Statistics Leader::statistics() const {
  Statistics now = statistics_;
  now.counts = scheduler_.counts();
  now.running = scheduler_.running();
  now.waiting = scheduler_.waiting();
  now.free_pages = blocks_.free_pages();
  return now;
}

}  // namespace ingot
