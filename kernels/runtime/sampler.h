// From a row of logits to the next token, on the host.
//
// In this order, which is that of transformers' generate: what logits_processor.h does, temperature, top_k, top_p (the
// smallest set of tokens, best first, whose softmax reaches p; Holtzman et al., "The Curious Case of Neural Text
// Degeneration", arXiv:1904.09751), min_p (tokens at least min_p times as probable as the best; Nguyen et al.,
// arXiv:2407.01082), then one draw with a number that depends on seed and position only. Of equal logits the lower id
// is the better one, everywhere. Log-probabilities are those of the logits as the model gave them, before all of this.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/logits_processor.h"
#include "runtime/softmax.h"
#include "runtime/step.h"

namespace ingot {

struct Ranked {
  float value;
  int32_t id;
};

struct Sampled {
  int32_t token = -1;
  float logprob = 0;        // if asked for
  std::vector<Ranked> top;  // log-probabilities of the best, best first
};

// Fails the request whose row of logits leaves no token to choose: `gave` says what is wrong with it, `position` where
// the token would have stood. Throws Error(INGOT_FAILED).
[[noreturn]] void refuse_logits(const char *gave, int64_t position);

// Keeps memory between calls; one for each thread.
class Sampler {
 public:
  // `position`: where the drawn token will stand in its sequence. Throws Error(INGOT_FAILED) when a logit is NaN or
  // +inf, or all are -inf: the request fails, the engine goes on.
  Sampled sample(std::span<const float> logits_V, const SamplingChange &sampling, int64_t position);
  // The same after the rules of `processor`, which follows the sequence up to `position` and is then told the token.
  // logits_V is as before when it returns or throws.
  Sampled sample(std::span<float> logits_V, const SamplingChange &sampling, int64_t position,
                 LogitsProcessor &processor);
  // The log-probability of `token`, and of the `count` best, by these logits. `position`: where `token` stands. Throws
  // as sample().
  Sampled score(std::span<const float> logits_V, int32_t token, int32_t count, int64_t position);

 private:
  int32_t choose(std::span<const float> logits_V, const SamplingChange &sampling, int64_t position,
                 const Extremes &found);
  void add_logprobs(std::span<const float> logits_V, float highest, int32_t count, Sampled &sampled);
  int32_t draw(std::span<const float> logits_V, const SamplingChange &sampling, float highest, double noise);
  int32_t draw_from_all(std::span<const float> logits_V, float highest, float scale, float min_p, double noise);
  double weigh_best(float highest, float scale);
  void best(std::span<const float> values, size_t count);

  std::vector<float> weights_;
  std::vector<Ranked> best_;
};

}  // namespace ingot
