// From a row of logits to the next token, on the host.
//
// In this order: temperature, top_k, top_p (the smallest set of tokens, best first, whose softmax reaches p; Holtzman
// et al., "The Curious Case of Neural Text Degeneration", arXiv:1904.09751), then one draw with a number that depends
// on seed and position only. Of equal logits the lower id is the better one, everywhere.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/step.h"

namespace ingot {

struct Ranked {
  float value;
  int32_t id;
};

struct Sampled {
  int32_t token = -1;
  float logprob = 0;        // if asked for: before temperature, top_k and top_p
  std::vector<Ranked> top;  // log-probabilities of the best, best first
};

// Keeps memory between calls; one for each thread.
class Sampler {
 public:
  // `position`: where the drawn token will stand in its sequence. Throws Error(INGOT_FAILED) when a logit is NaN or
  // +inf, or all are -inf: the request fails, the engine goes on.
  Sampled sample(std::span<const float> logits_V, const SamplingChange &sampling, int64_t position);

 private:
  int32_t draw(std::span<const float> logits_V, const SamplingChange &sampling, float highest, double noise);
  int32_t draw_from_all(std::span<const float> logits_V, float highest, float scale, double noise);
  double weigh_best(float highest, float scale);
  void best(std::span<const float> values, size_t count);

  std::vector<float> weights_;
  std::vector<Ranked> best_;
};

}  // namespace ingot
