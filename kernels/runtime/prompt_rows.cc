#include "runtime/prompt_rows.h"

#include <algorithm>
#include <limits>

namespace ingot {
namespace {

void copy_rows(std::span<const float> from, size_t rows, int32_t first, float *to) {
  std::copy(from.begin(), from.end(), to + static_cast<size_t>(first) * (from.size() / rows));
}

// Places beyond the vocabulary hold no token.
void write_top(const Request &request, size_t place, const Sampled &scored) {
  const auto width = static_cast<size_t>(request.prompt_top);
  for (size_t k = 0; k < width; ++k) {
    const Ranked entry = k < scored.top.size() ? scored.top[k] : Ranked{-std::numeric_limits<float>::infinity(), -1};
    if (request.prompt_top_ids) request.prompt_top_ids[place * width + k] = entry.id;
    if (request.prompt_top_logprobs) request.prompt_top_logprobs[place * width + k] = entry.value;
  }
}

}  // namespace

void deliver_prompt_rows(const Request &request, std::span<const int32_t> prompt_L, int32_t first,
                         const PromptRows &given, Sampler &sampler) {
  const auto rows = static_cast<size_t>(given.rows);
  if (request.logits) copy_rows(given.logits_NV, rows, first, request.logits);
  if (request.hidden) copy_rows(given.hidden_ND, rows, first, request.hidden);
  if (!request.prompt_logprobs) return;
  const size_t width = given.logits_NV.size() / rows;
  for (size_t n = 0; n < rows; ++n) {
    const size_t place = static_cast<size_t>(first) + n, next = place + 1;
    if (next >= prompt_L.size()) return;
    const Sampled scored = sampler.score(given.logits_NV.subspan(n * width, width), prompt_L[next], request.prompt_top,
                                         static_cast<int64_t>(next));
    request.prompt_logprobs[place] = scored.logprob;
    write_top(request, place, scored);
  }
}

}  // namespace ingot
