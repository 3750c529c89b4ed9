#include "runtime/job.h"

#include <algorithm>
#include <utility>

namespace ingot {

Job::Job(Request given, const Vocabulary &vocabulary) : request(std::move(given)), text_(std::move(request.stops)) {
  sequence.id = request.id;
  sequence.priority = request.priority;
  sequence.prompt = static_cast<int32_t>(request.prompt.size());
  sequence.tokens = std::move(request.prompt);
  sequence.generates = request.max_tokens > 0;
  sequence.wants_prompt_rows = request.wants_prompt_rows();
  sequence.sampling = request.sampling(sequence.prompt);
  processor = LogitsProcessor::make(sequence.sampling, request.lists, end_tokens(vocabulary));
}

// What min_tokens holds back: the model's end tokens also where they are ignored, as transformers and vLLM do.
std::vector<int32_t> Job::end_tokens(const Vocabulary &vocabulary) const {
  std::vector<int32_t> tokens = request.stop_ids;
  tokens.insert(tokens.end(), vocabulary.end_ids.begin(), vocabulary.end_ids.end());
  return tokens;
}

bool Job::ends(int32_t token, const Vocabulary &vocabulary) const {
  if (generated() < request.min_tokens) return false;
  if (!request.ignore_eos && vocabulary.end_ids.contains(token)) return true;
  return std::find(request.stop_ids.begin(), request.stop_ids.end(), token) != request.stop_ids.end();
}

Job::Taken Job::take(const Sampled &sampled, const Vocabulary &vocabulary, int32_t longest) {
  Taken taken{{}, INGOT_RUNNING};
  Event &event = taken.event;
  event.fields.kind = INGOT_TOKEN;
  event.fields.request = sequence.id;
  event.fields.token = sampled.token;
  event.fields.logprob = sampled.logprob;
  for (const Ranked &best : sampled.top) {
    event.top_ids.push_back(best.id);
    event.top_logprobs.push_back(best.value);
  }
  const bool ended = ends(sampled.token, vocabulary);
  if (!ended && !vocabulary.bytes.special(sampled.token))
    event.text = text_.add(vocabulary.bytes.bytes(sampled.token), generated() >= request.min_tokens);
  const bool full = static_cast<int32_t>(sequence.tokens.size()) >= longest;
  if (ended || text_.stopped())
    taken.finish = INGOT_STOP;
  else if (full || generated() >= request.max_tokens)
    taken.finish = INGOT_LENGTH;
  return taken;
}

Event Job::finish(IngotFinish reason, const std::string &sentence, double now) {
  const double submitted = request.submitted_s;
  Event event;
  IngotEvent &fields = event.fields;
  fields.kind = INGOT_FINISH;
  fields.request = sequence.id;
  fields.finish = reason;
  fields.prompt_tokens = sequence.prompt;
  fields.cached_tokens = std::max(0, sequence.matched);
  fields.generated_tokens = generated();
  fields.queued_s = (first_step_s < 0 ? now : first_step_s) - submitted;
  fields.first_token_s = first_token_s < 0 ? 0 : first_token_s - submitted;
  fields.total_s = now - submitted;
  event.text = reason == INGOT_ERROR ? sentence : text_.finish();
  return event;
}

}  // namespace ingot
