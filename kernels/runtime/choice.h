// One of the answers to a request: its sequence, its text, and the events that tell of it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "files/token_bytes.h"
#include "runtime/event.h"
#include "runtime/logits_processor.h"
#include "runtime/request.h"
#include "runtime/sampler.h"
#include "runtime/sequence.h"
#include "runtime/text.h"

namespace ingot {

// What the tokens of an engine mean.
struct Vocabulary {
  const TokenBytes &bytes;  // size() 0: there is no text
  std::unordered_set<int32_t> end_ids;
};

// The tokens that end the text of a request, and are not part of it.
std::unordered_set<int32_t> end_tokens(const Request &request, const Vocabulary &vocabulary);

class Choice {
 public:
  // `longest`: tokens of one sequence, the prompt included.
  Choice(const Request &request, const Vocabulary &vocabulary, int32_t index, int32_t longest);

  Sequence sequence;
  std::optional<LogitsProcessor> processor;  // none: the model's logits are drawn from as they are
  IngotFinish finish = INGOT_RUNNING;
  std::vector<Event> held;  // until it is known whether this choice is among those that are wanted

  int32_t generated() const { return generated_; }
  // The score of best_of: natural logarithm of the probability, per token.
  double mean_logprob() const { return generated_ ? total_logprob_ / generated_ : 0; }

  // The event of the next token; `finish` says whether it is the last.
  Event take(const Sampled &sampled, const Request &request, const Vocabulary &vocabulary);
  // The text that was held back.
  std::string rest() { return text_.finish(); }

 private:
  bool ends(int32_t token, const Request &request, const Vocabulary &vocabulary) const;

  TextStream text_;
  int32_t most_;  // tokens to generate
  int32_t generated_ = 0;
  double total_logprob_ = 0;
};

}  // namespace ingot
