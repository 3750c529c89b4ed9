// What the leader reads of a finished step: tokens that the rank drew, and rows from which it draws itself.
#include "error.h"
#include "runtime/leader.h"
#include "runtime/prompt_rows.h"

namespace ingot {

// The next tokens, and the logits that requests asked for.
void Leader::read_results(const ScheduledStep &step, const StepResults &results) {
  answers_.clear();
  sampled_.clear();
  forks_.clear();
  tokens_.counts.clear();
  tokens_.tokens.clear();
  size_t draft = 0;
  for (size_t number = 0; number < step.sequences.size(); ++number) {
    const size_t before = sampled_.size();
    answers_.emplace_back();
    if (step.sequences[number].sequence) read_entry(step, number, draft, results);
    if (!answers_.back().failure.empty()) sampled_.resize(before);
    for (size_t i = before; i < sampled_.size(); ++i) tokens_.tokens.push_back(sampled_[i].token);
    tokens_.counts.push_back(static_cast<int32_t>(sampled_.size() - before));
    draft += static_cast<size_t>(step.sequences[number].drafts);
  }
}

void Leader::read_entry(const ScheduledStep &step, size_t number, size_t first_draft, const StepResults &results) {
  const ScheduledSequence &entry = step.sequences[number];
  Sequence &sequence = *entry.sequence;
  Job &owner = job(sequence);
  Answer &answer = answers_.back();
  answer.id = sequence.id;
  answer.index = sequence.index;
  answer.samples = entry.samples;
  try {
    if (entry.prompt_rows) copy_prompt_rows(owner, entry, results);
    if (!entry.samples) return;
    if (!sequence.needs_leader) return read_token(sequence, entry, results.sampled_S[number]);
    const std::span<const int32_t> drafts(step.drafts);
    read_rows(owner, entry, drafts.subspan(first_draft, static_cast<size_t>(entry.drafts)), results.logits_NV);
  } catch (const Error &error) {
    answer.failure = error.what();
  }
}

// What the rank drew.
void Leader::read_token(const Sequence &sequence, const ScheduledSequence &entry, const IngotSampledToken &sampled) {
  if (sampled.token < 0)
    refuse_logits("no finite logits, or some that are not a number,", sequence.committed + entry.tokens);
  sampled_.push_back({sampled.token, sampled.logprob, {}});
}

// What the leader draws.
void Leader::read_rows(Job &job, const ScheduledSequence &entry, std::span<const int32_t> drafts,
                       std::span<float> logits_NV) {
  const Sequence &sequence = *entry.sequence;
  Choice &choice = job.choice(sequence);
  int32_t position = sequence.committed + entry.tokens, number = entry.first_row + entry.rows - entry.drafts - 1;
  if (job.beams) {
    LogitsProcessor *processor = choice.processor ? &*choice.processor : nullptr;
    if (processor) processor->follow(sequence.tokens, position);
    job.beams->add_row(job.beam_of(sequence), row(logits_NV, number), sequence.sampling, processor, position);
    return;
  }
  for (int32_t fork = 1; fork <= sequence.forks; ++fork) {
    Choice &other = *job.choices[static_cast<size_t>(fork)];
    forks_.push_back({sequence.id, fork, sample(other, row(logits_NV, number), sequence.tokens, position)});
  }
  for (size_t draft = 0;; ++draft, ++number, ++position) {
    sampled_.push_back(sample(choice, row(logits_NV, number), sequence.tokens, position));
    if (draft == drafts.size() || sampled_.back().token != drafts[draft]) break;
  }
  ranks_.slots().set_last_token(sequence.slot, sampled_.back().token);
}

std::span<float> Leader::row(std::span<float> logits_NV, int32_t number) const {
  const auto vocab = static_cast<size_t>(ranks_.spec().vocab);
  return logits_NV.subspan(static_cast<size_t>(number) * vocab, vocab);
}

// `known`: the sequence's tokens as far as they are committed; `position`: where the drawn one will stand.
Sampled Leader::sample(Choice &choice, std::span<float> logits_V, std::span<const int32_t> known, int32_t position) {
  const SamplingChange &sampling = choice.sequence.sampling;
  if (!choice.processor) return sampler_.sample(logits_V, sampling, position);
  choice.processor->follow(known, position);
  return sampler_.sample(logits_V, sampling, position, *choice.processor);
}

void Leader::copy_prompt_rows(const Job &job, const ScheduledSequence &entry, const StepResults &results) {
  const auto part = [&](std::span<const float> rows, int32_t width) {
    return rows.empty() ? rows
                        : rows.subspan(static_cast<size_t>(entry.first_row) * static_cast<size_t>(width),
                                       static_cast<size_t>(entry.rows) * static_cast<size_t>(width));
  };
  const PromptRows given{part(results.logits_NV, ranks_.spec().vocab), part(results.hidden_ND, ranks_.hidden_width()),
                         entry.rows};
  deliver_prompt_rows(job.request, job.request.prompt, entry.sequence->prompt_rows, given, sampler_);
}

}  // namespace ingot
