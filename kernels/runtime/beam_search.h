// Beam search over the rows of one request: which beams go on with which tokens, and which texts are the best.
//
// The rules are those of transformers' generate(num_beams=…, do_sample=False), version 5: each step looks at the
// max(2, 1 + end tokens) * width best continuations of all beams; those among the first `width` that end a text are
// kept as results with the score (sum of log-probabilities) / (generated tokens ^ length_penalty); the best `width`
// that do not end go on. It ends when no beam can still improve on the worst result (an estimate, unless early_stopping
// is never), with early_stopping as soon as there are `width` results, and at max_tokens. Of equal scores the lower
// beam, then the lower token, is the better one.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "runtime/logits_processor.h"
#include "runtime/sampler.h"

namespace ingot {

enum class EarlyStopping : int32_t { no, yes, never };

struct BeamOptions {
  int32_t width = 1;
  float length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::no;
  int32_t max_tokens = 0;  // generated
};

// How many continuations a step looks at.
inline int64_t beam_candidates(int32_t width, size_t end_tokens) {
  return int64_t{width} * static_cast<int64_t>(end_tokens > 1 ? end_tokens + 1 : 2);
}

class BeamSearch {
 public:
  // A text that began with the prompt.
  struct Hypothesis {
    std::vector<int32_t> tokens;  // generated ones
    std::vector<float> logprobs;  // of each
    float total = 0;              // of the log-probabilities, what processors changed included
    float score = 0;              // of a result
    bool ended = false;           // its last token ends the text
  };
  // A beam of the next step: the one it goes on from, and its token.
  struct Step {
    int32_t parent, token;
  };

  BeamSearch(const BeamOptions &options, std::unordered_set<int32_t> end_ids);

  // How many beams there are: one at first.
  int32_t beams() const { return static_cast<int32_t>(beams_.size()); }
  // The row after beam `beam`. `processor` (NULL: none) follows the beam already.
  // Throws Error(INGOT_FAILED) when a logit is NaN or +inf, or all are -inf.
  void add_row(int32_t beam, std::span<const float> logits_V, const SamplingChange &sampling,
               LogitsProcessor *processor, int64_t position);
  // Every beam has its row.
  bool ready() const { return rows_ == beams(); }
  // Chooses, once ready(). Beam i goes on from beam result[i].parent; empty: the search has ended.
  std::vector<Step> advance();
  // Best first; at most width of them.
  const std::vector<Hypothesis> &results() const { return results_; }

 private:
  struct Candidate {
    float total, logprob;
    int32_t beam, token;
    bool ended;
  };

  void keep(const Candidate &candidate, int32_t length);
  bool can_improve(int32_t length) const;
  Hypothesis continued(const Candidate &candidate) const;

  BeamOptions options_;
  std::unordered_set<int32_t> end_ids_;
  size_t kept_;  // continuations that a step looks at
  std::vector<Hypothesis> beams_, results_;
  std::vector<Candidate> candidates_;         // of the rows that came
  std::vector<float> logprobs_V_, scores_V_;  // of a row; before and after the processor
  std::vector<Ranked> best_;
  int32_t rows_ = 0;
};

}  // namespace ingot
