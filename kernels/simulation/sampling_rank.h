// A rank whose device samples, simulated on one that does not: it takes steps ahead, is done with each at a moment of
// its own, draws tokens and feeds them back, and shows the leader nothing before finish() and no logits that are not
// the leader's.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "error.h"
#include "runtime/rank.h"
#include "runtime/sampler.h"
#include "runtime/step_runner.h"
#include "simulation/violation.h"

namespace ingot::simulation {

class SamplingRank : public StepRunner {
 public:
  // `hurries` says whether the device does another of the steps that it was given before it is asked for.
  // greedy_only: it draws by no other settings.
  SamplingRank(Rank &rank, std::function<bool()> hurries, bool greedy_only)
      : rank_(rank), hurries_(std::move(hurries)), greedy_only_(greedy_only) {}

  bool samples() const override { return true; }
  bool can_sample(const SamplingChange &sampling) const override { return !greedy_only_ || sampling.temperature == 0; }

  void launch(const StepView &step) override {
    require(steps_.empty() || !has_rows_for_leader(steps_.back().view),
            "a step was launched behind one whose rows are the leader's");
    ahead_ += !steps_.empty();
    steps_.emplace_back();
    steps_.back().view = step;
    for (const int32_t slot : step.slots_S) steps_.back().tokens_S.push_back(last_token(slot));
    while (done_ < steps_.size() && hurries_()) compute(steps_[done_++]);
  }

  StepResults finish() override {
    require(!steps_.empty(), "a step was to be finished, and none was launched");
    if (done_ == 0) compute(steps_[done_++]);
    last_ = std::move(steps_.front());
    steps_.pop_front();
    --done_;
    return {last_.logits_NV, {}, last_.sampled_S};
  }

  // Steps that were launched before the one ahead of them was finished.
  uint64_t ahead() const { return ahead_; }

 private:
  struct Step {
    StepView view;
    std::vector<int32_t> tokens_S;  // what the leader had made the slots' last tokens when it was launched
    std::vector<IngotSampledToken> sampled_S;
    std::vector<float> logits_NV;
  };

  static bool has_rows_for_leader(const StepView &step) {
    return std::find(step.samples_S.begin(), step.samples_S.end(), leader_samples) != step.samples_S.end();
  }

  // A slot that does not exist is for the rank to refuse.
  int32_t last_token(int32_t slot) const {
    return slot >= 0 && slot < rank_.slots().size() ? rank_.slots().last_token(slot) : 0;
  }

  void compute(Step &step) {
    const StepView &view = step.view;
    Slots &slots = rank_.slots();
    drawn_.resize(static_cast<size_t>(slots.size()), 0);
    for (size_t s = 0; s < view.slots_S.size(); ++s) {
      const auto slot = static_cast<size_t>(view.slots_S[s]);
      slots.set_last_token(view.slots_S[s], view.samples_S[s] == rank_samples ? drawn_.at(slot) : step.tokens_S[s]);
    }
    rank_.launch(view);
    const StepResults results = rank_.finish();
    for (size_t s = 0, end = 0; s < view.slots_S.size(); ++s) {
      end += static_cast<size_t>(view.lengths_S[s]);
      step.sampled_S.push_back({-7, std::nanf("")});  // which nobody should read
      if (view.samples_S[s] == rank_samples) step.sampled_S.back() = draw(view, s, end - 1, results.logits_NV);
    }
    if (has_rows_for_leader(view)) step.logits_NV.assign(results.logits_NV.begin(), results.logits_NV.end());
  }

  IngotSampledToken draw(const StepView &view, size_t s, size_t last, std::span<const float> logits_NV) {
    const auto row = std::find(view.rows_N.begin(), view.rows_N.end(), static_cast<int32_t>(last));
    require(row != view.rows_N.end(), "a sequence's last row was not asked for, which the rank should draw from");
    const auto vocab = static_cast<size_t>(rank_.spec().vocab);
    const std::span<const float> logits_V =
        logits_NV.subspan(static_cast<size_t>(row - view.rows_N.begin()) * vocab, vocab);
    const int32_t slot = view.slots_S[s];
    int32_t &drawn = drawn_[static_cast<size_t>(slot)];
    try {
      const Sampled sampled =
          sampler_.sample(logits_V, rank_.slots().sampling(slot), view.cached_S[s] + view.lengths_S[s]);
      drawn = sampled.token;
      return {sampled.token, sampled.logprob};
    } catch (const Error &) {
      drawn = 0;
      return {-1, 0};
    }
  }

  Rank &rank_;
  std::function<bool()> hurries_;
  bool greedy_only_;
  Sampler sampler_;
  std::vector<int32_t> drawn_;  // by slot: the last token drawn here
  std::deque<Step> steps_;      // launched and not finished
  size_t done_ = 0;             // of these, the ones that the device is done with
  Step last_;                   // whose results the leader reads
  uint64_t ahead_ = 0;
};

}  // namespace ingot::simulation
