#include "runtime/logits_processor.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ingot {
namespace {

constexpr float nothing = -std::numeric_limits<float>::infinity();

bool repels(const SamplingChange &sampling) {
  return sampling.repetition_penalty != 1 || sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
}

}  // namespace

std::optional<LogitsProcessor> LogitsProcessor::make(const SamplingChange &sampling,
                                                     std::shared_ptr<const TokenLists> lists,
                                                     std::vector<int32_t> ends) {
  if (sampling.min_tokens == 0) ends.clear();
  if (!lists) lists = std::make_shared<const TokenLists>();
  const bool needed = repels(sampling) || sampling.no_repeat_ngram_size > 0 || !ends.empty() ||
                      !lists->logit_bias.empty() || lists->bad_words;
  if (!needed) return std::nullopt;
  return LogitsProcessor(sampling.prompt, std::move(lists), std::move(ends));
}

void LogitsProcessor::apply(std::span<float> scores_V, const SamplingChange &sampling) {
  old_.clear();
  for (const TokenBias &bias : lists_->logit_bias)
    set(scores_V, bias.id, scores_V[static_cast<size_t>(bias.id)] + bias.bias);
  if (repels(sampling)) repel(scores_V, sampling);
  forbidden_.clear();
  if (sampling.no_repeat_ngram_size > 0) find_repeats(sampling.no_repeat_ngram_size);
  if (lists_->bad_words) lists_->bad_words->find(history_.tokens(), forbidden_);
  forbid(scores_V, forbidden_);
  if (history_.generated() < sampling.min_tokens) forbid(scores_V, ends_);
}

void LogitsProcessor::restore(std::span<float> scores_V) {
  for (size_t i = old_.size(); i-- > 0;) scores_V[static_cast<size_t>(old_[i].id)] = old_[i].score;
  old_.clear();
}

// A score stays finite if it was: an overflow would read as a broken model.
void LogitsProcessor::set(std::span<float> scores_V, int32_t id, float score) {
  constexpr float most = std::numeric_limits<float>::max();
  float &now = scores_V[static_cast<size_t>(id)];
  old_.push_back({id, now});
  now = std::isfinite(now) ? std::clamp(score, -most, most) : score;
}

void LogitsProcessor::forbid(std::span<float> scores_V, std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    float &now = scores_V[static_cast<size_t>(id)];
    old_.push_back({id, now});
    now = nothing;
  }
}

void LogitsProcessor::repel(std::span<float> scores_V, const SamplingChange &sampling) {
  const float penalty = sampling.repetition_penalty;
  for (const History::Count &count : history_.counts()) {
    if (count.id < 0 || count.prompt + count.generated == 0) continue;  // embeddings have no id
    float score = scores_V[static_cast<size_t>(count.id)];
    const float scaled[] = {score / penalty, score * penalty};
    score = scaled[score < 0];  // no branch: signs are no pattern, and a wrong guess waits for memory
    if (count.generated > 0) {
      score -= static_cast<float>(count.generated) * sampling.frequency_penalty;
      score -= sampling.presence_penalty;
    }
    set(scores_V, count.id, score);
  }
}

// forbidden_ grows by the tokens that came after each earlier copy of the last n - 1 tokens.
void LogitsProcessor::find_repeats(int32_t n) {
  const std::span<const int32_t> tokens = history_.tokens();
  const auto before = static_cast<size_t>(n) - 1;
  if (tokens.size() < static_cast<size_t>(n)) return;
  if (before == 0) {
    for (const History::Count &count : history_.counts()) {
      if (count.id >= 0 && count.prompt + count.generated > 0) forbidden_.push_back(count.id);
    }
    return;
  }
  const std::span<const int32_t> last = tokens.last(before);
  if (std::ranges::any_of(last, [](int32_t id) { return id < 0; })) return;  // embeddings are no tokens to repeat
  for (size_t end = before; end < tokens.size(); ++end) {
    if (tokens[end - 1] == last.back() && std::equal(last.begin(), last.end() - 1, tokens.begin() + (end - before)))
      if (tokens[end] >= 0) forbidden_.push_back(tokens[end]);
  }
}

}  // namespace ingot
