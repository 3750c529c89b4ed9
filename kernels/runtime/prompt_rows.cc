#include "runtime/prompt_rows.h"

#include <algorithm>
#include <limits>

namespace ingot {
namespace {

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
                         std::span<const float> rows_NV, int32_t vocab, Sampler &sampler) {
  const auto width = static_cast<size_t>(vocab);
  if (request.logits) std::copy(rows_NV.begin(), rows_NV.end(), request.logits + static_cast<size_t>(first) * width);
  if (!request.prompt_logprobs) return;
  for (size_t n = 0; n < rows_NV.size() / width; ++n) {
    const size_t place = static_cast<size_t>(first) + n, next = place + 1;
    if (next >= prompt_L.size()) return;
    const Sampled scored = sampler.score(rows_NV.subspan(n * width, width), prompt_L[next], request.prompt_top,
                                         static_cast<int64_t>(next));
    request.prompt_logprobs[place] = scored.logprob;
    write_top(request, place, scored);
  }
}

}  // namespace ingot
