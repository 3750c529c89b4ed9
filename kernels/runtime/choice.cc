#include "runtime/choice.h"

#include <algorithm>
#include <utility>

#include "runtime/noise.h"

namespace ingot {

std::unordered_set<int32_t> end_tokens(const Request &request, const Vocabulary &vocabulary) {
  std::unordered_set<int32_t> tokens(request.stop_ids.begin(), request.stop_ids.end());
  if (!request.ignore_eos) tokens.insert(vocabulary.end_ids.begin(), vocabulary.end_ids.end());
  return tokens;
}

Choice::Choice(const Request &request, const Vocabulary &vocabulary, int32_t index, int32_t longest)
    : text_(request.stops) {
  sequence.id = request.id;
  sequence.index = index;
  sequence.priority = request.priority;
  sequence.root = PageKey::root(static_cast<uint64_t>(sequence.adapter), request.salt);
  sequence.reuse = request.reuse && request.embeddings.empty();  // vectors are no key of pages
  sequence.embeddings = request.embeddings;
  sequence.prompt = static_cast<int32_t>(request.prompt.size());
  if (index == 0) sequence.tokens = request.prompt;
  sequence.generates = request.max_tokens > 0;
  sequence.wants_prompt_rows = index == 0 && request.wants_prompt_rows();
  sequence.sampling = request.sampling(sequence.prompt);
  sequence.sampling.seed = seed_of_choice(request.seed, index);
  most_ = std::min(request.max_tokens, longest - sequence.prompt);
  sequence.limit = sequence.prompt + std::max(0, most_ - 1);
  // What min_tokens holds back: the model's end tokens also where they are ignored, as transformers and vLLM do.
  std::vector<int32_t> ends = request.stop_ids;
  ends.insert(ends.end(), vocabulary.end_ids.begin(), vocabulary.end_ids.end());
  processor = LogitsProcessor::make(sequence.sampling, request.lists, std::move(ends));
}

bool Choice::ends(int32_t token, const Request &request, const Vocabulary &vocabulary) const {
  if (generated_ < request.min_tokens) return false;
  if (!request.ignore_eos && vocabulary.end_ids.contains(token)) return true;
  return std::find(request.stop_ids.begin(), request.stop_ids.end(), token) != request.stop_ids.end();
}

Event Choice::take(const Sampled &sampled, const Request &request, const Vocabulary &vocabulary) {
  ++generated_;
  total_logprob_ += sampled.logprob;
  Event event;
  event.fields.kind = INGOT_TOKEN;
  event.fields.request = sequence.id;
  event.fields.index = sequence.index;
  event.fields.token = sampled.token;
  event.fields.logprob = request.logprobs < 0 ? 0 : sampled.logprob;
  for (const Ranked &best : sampled.top) {
    event.top_ids.push_back(best.id);
    event.top_logprobs.push_back(best.value);
  }
  const bool ended = ends(sampled.token, request, vocabulary);
  if (!ended && !vocabulary.bytes.special(sampled.token))
    event.text = text_.add(vocabulary.bytes.bytes(sampled.token), generated_ >= request.min_tokens);
  if (ended || text_.stopped())
    finish = INGOT_STOP;
  else if (generated_ >= most_)
    finish = INGOT_LENGTH;
  return event;
}

}  // namespace ingot
