// A request as it was submitted, copied and checked: the one validation layer for whatever calls the C API.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ingot.h"
#include "runtime/beam_search.h"
#include "runtime/block_manager.h"
#include "runtime/logits_processor.h"
#include "runtime/policy.h"
#include "runtime/step.h"

namespace ingot {

struct RequestLimits {
  int32_t vocab;
  int32_t max_length;         // tokens of one sequence that the engine was built for
  int32_t cache_length;       // tokens of one sequence that the cache holds when it is alone
  bool has_text;              // whether token ids have bytes
  int32_t hidden = 0;         // numbers of a hidden row; 0: the engine does not give them
  int32_t embedding = 0;      // numbers of a token's vector; 0: the engine reads ids only
  size_t end_tokens = 0;      // that the engine has
  int32_t max_sequences = 1;  // that run together
  Policy policy = Policy::max_utilization;
  int32_t lag = 0;
  std::vector<PageGroup> groups = {};

  int32_t length() const { return max_length < cache_length ? max_length : cache_length; }
};

struct Request {
  uint64_t id = 0;
  std::vector<int32_t> prompt;    // embedded_token for each of its vectors
  std::vector<float> embeddings;  // these vectors, in order
  int32_t max_tokens = 0, min_tokens = 0;
  float temperature = 0, top_p = 1;
  int32_t top_k = 0;
  uint64_t seed = 0;
  float min_p = 0, repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int32_t no_repeat_ngram_size = 0;
  std::shared_ptr<const TokenLists> lists;  // NULL: none
  int32_t logprobs = -1;
  bool ignore_eos = false;
  std::vector<int32_t> stop_ids;
  std::vector<std::string> stops;
  float *logits = nullptr, *hidden = nullptr, *prompt_logprobs = nullptr, *prompt_top_logprobs = nullptr;
  int32_t *prompt_top_ids = nullptr;
  int32_t prompt_top = 0;
  int32_t priority = 0;
  int32_t n = 1, best_of = 1, beam_width = 1;  // what is told, sampled, searched; at least 1
  float length_penalty = 1;
  EarlyStopping early_stopping = EarlyStopping::no;
  bool reuse = true;  // of prefixes across requests
  std::string salt;
  double submitted_s = 0;

  // That it runs together.
  int32_t sequences() const { return std::max(best_of, beam_width); }
  bool wants_prompt_rows() const { return logits || hidden || prompt_logprobs; }
  // Its settings of fixed size, for a prompt of so many tokens; the slot is still to come.
  SamplingChange sampling(int32_t prompt_tokens) const;
};

// Throws Error(INGOT_INVALID) that names the field, its value and what is allowed.
Request read_request(const IngotRequest &given, const RequestLimits &limits, BadWordsShelf &shelf);

}  // namespace ingot
