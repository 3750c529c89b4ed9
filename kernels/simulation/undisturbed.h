// What a request must answer: each of its sequences computed by itself, from its first token on, without pages, steps
// or neighbours; only the fake engine's rule, the sampler and the beams' choice are the runtime's own.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <unordered_set>
#include <vector>

#include "engines/fake.h"
#include "runtime/beam_search.h"
#include "runtime/noise.h"
#include "runtime/request.h"
#include "runtime/sampler.h"
#include "simulation/world.h"

namespace ingot::simulation {

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // of the tokens; 0 where they were not asked for
  IngotFinish finish = INGOT_LENGTH;
  double mean_logprob = 0;
};

class Undisturbed {
 public:
  explicit Undisturbed(const World &world) : vocab_(world.vocab) {
    for (const PageGroup &group : world.groups) windows_.push_back(group.window);
  }

  int32_t next(const std::vector<int32_t> &tokens) const { return fake_next_token(tokens, windows_, vocab_); }

  // The texts that the request is told, in order.
  std::vector<Answer> answers(const Request &request, int32_t longest) {
    const int32_t most = std::min(request.max_tokens, longest - static_cast<int32_t>(request.prompt.size()));
    if (request.beam_width > 1) return search(request, most);
    std::vector<Answer> answers;
    for (int32_t index = 0; index < request.sequences(); ++index) answers.push_back(draw(request, index, most));
    if (request.best_of > request.n) {
      std::stable_sort(answers.begin(), answers.end(),
                       [](const Answer &a, const Answer &b) { return a.mean_logprob > b.mean_logprob; });
    }
    answers.resize(static_cast<size_t>(request.n));
    return answers;
  }

 private:
  std::span<float> logits(const std::vector<int32_t> &tokens) {
    logits_V_.assign(static_cast<size_t>(vocab_), 0);
    logits_V_[static_cast<size_t>(next(tokens))] = fake_score;
    return logits_V_;
  }

  bool stops(const Request &request, int32_t token) const {
    return std::find(request.stop_ids.begin(), request.stop_ids.end(), token) != request.stop_ids.end();
  }

  Answer draw(const Request &request, int32_t index, int32_t most) {
    std::vector<int32_t> tokens = request.prompt;
    SamplingChange sampling = request.sampling(static_cast<int32_t>(tokens.size()));
    sampling.seed = seed_of_choice(request.seed, index);
    Answer answer;
    double total = 0;
    while (static_cast<int32_t>(answer.tokens.size()) < most) {
      const Sampled sampled =
          sampler_.sample(std::span<const float>(logits(tokens)), sampling, static_cast<int64_t>(tokens.size()));
      tokens.push_back(sampled.token);
      answer.tokens.push_back(sampled.token);
      answer.logprobs.push_back(request.logprobs < 0 ? 0 : sampled.logprob);
      total += sampled.logprob;
      if (!stops(request, sampled.token)) continue;
      answer.finish = INGOT_STOP;
      break;
    }
    if (!answer.tokens.empty()) answer.mean_logprob = total / static_cast<double>(answer.tokens.size());
    return answer;
  }

  std::vector<Answer> search(const Request &request, int32_t most) {
    const std::unordered_set<int32_t> ends(request.stop_ids.begin(), request.stop_ids.end());
    BeamSearch beams({request.beam_width, request.length_penalty, request.early_stopping, most}, ends);
    std::vector<std::vector<int32_t>> texts{request.prompt};
    for (;;) {
      for (size_t beam = 0; beam < texts.size(); ++beam)
        beams.add_row(static_cast<int32_t>(beam), logits(texts[beam]), {}, nullptr, 0);
      const std::vector<BeamSearch::Step> steps = beams.advance();
      if (steps.empty()) break;
      std::vector<std::vector<int32_t>> next;
      for (const BeamSearch::Step &step : steps) {
        next.push_back(texts[static_cast<size_t>(step.parent)]);
        next.back().push_back(step.token);
      }
      texts = std::move(next);
    }
    std::vector<Answer> answers;
    for (int32_t i = 0; i < request.n; ++i) {
      const BeamSearch::Hypothesis &result = beams.results()[static_cast<size_t>(i)];
      std::vector<float> logprobs(result.logprobs.begin(), result.logprobs.end());
      if (request.logprobs < 0) std::fill(logprobs.begin(), logprobs.end(), 0.f);
      answers.push_back({result.tokens, std::move(logprobs), result.ended ? INGOT_STOP : INGOT_LENGTH, 0});
    }
    return answers;
  }

  int32_t vocab_;
  std::vector<int32_t> windows_;
  std::vector<float> logits_V_;
  Sampler sampler_;
};

}  // namespace ingot::simulation
