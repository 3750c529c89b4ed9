// What changes a sequence's logits before a token is chosen from them, in this order (transformers' generate, with
// presence and frequency, which it lacks, behind the other penalty):
//
//   logit_bias          l[t] += bias[t]                              (SequenceBiasLogitsProcessor of single tokens)
//   repetition_penalty  l[t] = l[t] < 0 ? l[t] * p : l[t] / p        for tokens of the prompt and generated ones
//   (Keskar
//                       et al., "CTRL", arXiv:1909.05858, section 4.1; RepetitionPenaltyLogitsProcessor)
//   presence_penalty, frequency_penalty
//                       l[t] -= (c[t] > 0) * presence + c[t] * frequency, c[t] counting generated tokens only (OpenAI's
//                       API; vLLM counts the same)
//   no_repeat_ngram_size
//                       l[t] = -inf where t would complete an n-gram that the prompt and the generated tokens hold
//                       (NoRepeatNGramLogitsProcessor)
//   bad_words           l[t] = -inf where t would complete a word that began anywhere, the prompt included
//                       (NoBadWordsLogitsProcessor; it lets a word that is the end token through, this does not)
//   min_tokens          l[t] = -inf for the end tokens and stop_ids, until so many were generated
//                       (MinNewTokensLengthLogitsProcessor)
//
// Temperature, top_k, top_p and min_p come after: sampler.h.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/bad_words.h"
#include "runtime/history.h"
#include "runtime/step.h"

namespace ingot {

struct TokenBias {
  int32_t id;
  float bias;
};

// Settings of a request that vary in size.
struct TokenLists {
  std::vector<TokenBias> logit_bias;
  std::shared_ptr<const BadWords> bad_words;  // NULL: none
};

// One for each sequence whose request asks for any of this; it remembers the sequence's tokens.
class LogitsProcessor {
 public:
  // None when nothing would ever change. `lists` may be NULL. `ends`: the tokens that end the text.
  static std::optional<LogitsProcessor> make(const SamplingChange &sampling, std::shared_ptr<const TokenLists> lists,
                                             std::vector<int32_t> ends);

  // The next token to be drawn is number `length`, counted from 0: see History::follow.
  void follow(std::span<const int32_t> known, int32_t length) { history_.follow(known, length); }
  // Changes the scores of that token (logits, or for beams log-probabilities) in place, until restore().
  void apply(std::span<float> scores_V, const SamplingChange &sampling);
  void restore(std::span<float> scores_V);
  // The token was drawn: later ones reckon with it, before any step commits it.
  void add(int32_t token) { history_.add(token); }

 private:
  struct Old {
    int32_t id;
    float score;
  };

  LogitsProcessor(int32_t prompt, std::shared_ptr<const TokenLists> lists, std::vector<int32_t> ends)
      : lists_(std::move(lists)), ends_(std::move(ends)), history_(prompt) {}
  void set(std::span<float> scores_V, int32_t id, float score);
  void forbid(std::span<float> scores_V, std::span<const int32_t> ids);
  void repel(std::span<float> scores_V, const SamplingChange &sampling);
  void find_repeats(int32_t n);

  std::shared_ptr<const TokenLists> lists_;
  std::vector<int32_t> ends_;
  History history_;
  std::vector<Old> old_;            // what apply() replaced, in order
  std::vector<int32_t> forbidden_;  // of one rule
};

}  // namespace ingot
