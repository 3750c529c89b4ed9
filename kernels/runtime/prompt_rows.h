// What a request wants to know of its prompt's own rows: their logits, hidden rows, and how probable each token of the
// prompt was.
#pragma once
#include <cstdint>
#include <span>

#include "runtime/request.h"
#include "runtime/sampler.h"

namespace ingot {

// Rows of a step. Hidden rows are there if the request may ask for them.
struct PromptRows {
  std::span<const float> logits_NV, hidden_ND;
  int32_t rows;
};

// Fills the request's arrays for the rows of prompt_L[first], prompt_L[first + 1], …; the logits of a token tell of the
// next one. Throws Error(INGOT_FAILED) when log-probabilities are asked of logits that have none (Sampler::score).
void deliver_prompt_rows(const Request &request, std::span<const int32_t> prompt_L, int32_t first,
                         const PromptRows &given, Sampler &sampler);

}  // namespace ingot
