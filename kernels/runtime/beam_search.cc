#include "runtime/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "error.h"
#include "ingot.h"
#include "runtime/softmax.h"

namespace ingot {
namespace {

bool better(const Ranked &a, const Ranked &b) { return a.value != b.value ? a.value > b.value : a.id < b.id; }

void to_logprobs(std::span<const float> logits_V, int64_t position, std::vector<float> &logprobs_V) {
  const Extremes found = extremes(logits_V);
  if (found.has_nan || !std::isfinite(found.highest)) {
    fail(
        INGOT_FAILED,
        "the model gave %s for token %lld of a beam, so none can be chosen; the engine goes on, but its weights or its "
        "dtype do not fit this prompt",
        found.has_nan ? "logits that are not a number" : "no finite logits", static_cast<long long>(position));
  }
  const auto logarithm = static_cast<float>(std::log(exponentials(logits_V, found.highest, 1, nullptr)));
  logprobs_V.resize(logits_V.size());
  for (size_t id = 0; id < logits_V.size(); ++id) logprobs_V[id] = (logits_V[id] - found.highest) - logarithm;
}

}  // namespace

BeamSearch::BeamSearch(const BeamOptions &options, std::unordered_set<int32_t> end_ids)
    : options_(options),
      end_ids_(std::move(end_ids)),
      kept_(static_cast<size_t>(beam_candidates(options.width, end_ids_.size()))),
      beams_(1) {}

void BeamSearch::add_row(int32_t beam, std::span<const float> logits_V, const SamplingChange &sampling,
                         LogitsProcessor *processor, int64_t position) {
  to_logprobs(logits_V, position, logprobs_V_);
  scores_V_ = logprobs_V_;
  if (processor) processor->apply(scores_V_, sampling);
  best_.clear();
  const size_t count = std::min(kept_, scores_V_.size());
  for (size_t id = 0; id < scores_V_.size(); ++id) {  // a heap of the best, the worst of them in front
    const Ranked entry{scores_V_[id], static_cast<int32_t>(id)};
    if (!(entry.value > -std::numeric_limits<float>::infinity())) continue;  // forbidden
    if (best_.size() == count) {
      if (!better(entry, best_.front())) continue;
      std::pop_heap(best_.begin(), best_.end(), better);
      best_.pop_back();
    }
    best_.push_back(entry);
    std::push_heap(best_.begin(), best_.end(), better);
  }
  const float total = beams_[static_cast<size_t>(beam)].total;
  for (const Ranked &entry : best_) {
    const float logprob = logprobs_V_[static_cast<size_t>(entry.id)];
    candidates_.push_back({total + entry.value, logprob, beam, entry.id, end_ids_.contains(entry.id)});
  }
  if (processor) processor->restore(scores_V_);
  ++rows_;
}

BeamSearch::Hypothesis BeamSearch::continued(const Candidate &candidate) const {
  Hypothesis hypothesis = beams_[static_cast<size_t>(candidate.beam)];
  hypothesis.tokens.push_back(candidate.token);
  hypothesis.logprobs.push_back(candidate.logprob);
  hypothesis.total = candidate.total;
  hypothesis.ended = candidate.ended;
  return hypothesis;
}

// Puts a text that has ended among the results, if it is one of the best `width`.
void BeamSearch::keep(const Candidate &candidate, int32_t length) {
  const float score =
      candidate.total / static_cast<float>(std::pow(static_cast<double>(length), options_.length_penalty));
  const auto place = std::find_if(results_.begin(), results_.end(), [&](const auto &r) { return r.score < score; });
  if (place == results_.end() && results_.size() >= static_cast<size_t>(options_.width)) return;
  Hypothesis hypothesis = continued(candidate);
  hypothesis.score = score;
  results_.insert(place, std::move(hypothesis));
  if (results_.size() > static_cast<size_t>(options_.width)) results_.pop_back();
}

// Whether the best beam, of `length` tokens, could still become better than the worst result.
bool BeamSearch::can_improve(int32_t length) const {
  if (results_.size() < static_cast<size_t>(options_.width)) return true;
  if (options_.early_stopping == EarlyStopping::yes) return false;
  const bool longest = options_.early_stopping == EarlyStopping::never && options_.length_penalty > 0;
  const double best = longest ? options_.max_tokens : length;
  return beams_[0].total / static_cast<float>(std::pow(best, options_.length_penalty)) > results_.back().score;
}

std::vector<BeamSearch::Step> BeamSearch::advance() {
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate &a, const Candidate &b) {
    if (a.total != b.total) return a.total > b.total;
    return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
  });
  candidates_.resize(std::min(candidates_.size(), kept_));
  const auto length = static_cast<int32_t>(beams_[0].tokens.size()) + 1;
  const bool full = length >= options_.max_tokens;
  std::vector<Step> steps;
  std::vector<Hypothesis> next;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate &candidate = candidates_[i];
    if (candidate.ended || full) {
      if (i < static_cast<size_t>(options_.width)) keep(candidate, length);
    } else if (next.size() < static_cast<size_t>(options_.width)) {
      next.push_back(continued(candidate));
      steps.push_back({candidate.beam, candidate.token});
    }
  }
  candidates_.clear();
  rows_ = 0;
  if (full || next.empty()) return {};
  beams_ = std::move(next);
  return can_improve(length) ? steps : std::vector<Step>{};
}

}  // namespace ingot
