// What a request wants to know of its prompt's own rows: their logits, and how probable each token of the prompt was.
#pragma once
#include <cstdint>
#include <span>

#include "runtime/request.h"
#include "runtime/sampler.h"

namespace ingot {

// Fills the request's arrays for the rows of prompt_L[first], prompt_L[first + 1], …; the row of a token tells of the
// next one. Throws Error(INGOT_FAILED) when log-probabilities are asked of logits that have none (Sampler::score).
void deliver_prompt_rows(const Request &request, std::span<const int32_t> prompt_L, int32_t first,
                         std::span<const float> rows_NV, int32_t vocab, Sampler &sampler);

}  // namespace ingot
