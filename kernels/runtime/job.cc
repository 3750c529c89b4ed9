#include "runtime/job.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace ingot {

Job::Job(Request given, const Vocabulary &vocabulary, int32_t longest) : request(std::move(given)) {
  const bool guided = request.beam_width > 1;
  for (int32_t index = 0; index < request.sequences(); ++index) {
    choices.push_back(std::make_unique<Choice>(request, vocabulary, index, longest));
    choices.back()->sequence.guided = guided;
  }
  Sequence &first = choices[0]->sequence;
  if (first.generates) first.forks = request.sequences() - 1;
  if (!guided) return;
  places = {0};
  beams.emplace(BeamOptions{request.beam_width, request.length_penalty, request.early_stopping,
                            std::min(request.max_tokens, longest - first.prompt)},
                end_tokens(request, vocabulary));
}

int32_t Job::beam_of(const Sequence &sequence) const {
  return static_cast<int32_t>(std::find(places.begin(), places.end(), sequence.index) - places.begin());
}

bool Job::ended() const {
  return std::all_of(choices.begin(), choices.end(), [](const auto &c) { return c->finish != INGOT_RUNNING; });
}

void Job::take(Choice &choice, const Sampled &sampled, const Vocabulary &vocabulary, std::vector<Event> &events) {
  Event event = choice.take(sampled, request, vocabulary);
  (holds() ? choice.held : events).push_back(std::move(event));
}

void Job::end(Choice &choice, IngotFinish reason, const std::string &sentence, double now, std::vector<Event> &events) {
  choice.finish = reason;
  Event event = finish_event(choice, now);
  event.text = reason == INGOT_ERROR ? sentence : choice.rest();
  (holds() ? choice.held : events).push_back(std::move(event));
}

Event Job::finish_event(const Choice &choice, double now) const {
  const double submitted = request.submitted_s;
  Event event;
  IngotEvent &fields = event.fields;
  fields.kind = INGOT_FINISH;
  fields.request = request.id;
  fields.index = choice.sequence.index;
  fields.finish = choice.finish;
  fields.prompt_tokens = choice.sequence.prompt;
  fields.cached_tokens = std::max(0, choices[0]->sequence.matched);
  fields.generated_tokens = choice.generated();
  fields.queued_s = (first_step_s < 0 ? now : first_step_s) - submitted;
  fields.first_token_s = first_token_s < 0 ? 0 : first_token_s - submitted;
  fields.total_s = now - submitted;
  return event;
}

void Job::deliver(std::vector<Event> &events) {
  if (!holds()) return;
  std::vector<size_t> order(choices.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [this](size_t a, size_t b) {
    const auto fails = [this](size_t i) { return choices[i]->finish == INGOT_ERROR; };
    return fails(a) != fails(b) ? fails(a) : choices[a]->mean_logprob() > choices[b]->mean_logprob();
  });
  for (int32_t rank = 0; rank < request.n; ++rank) {
    Choice &choice = *choices[order[static_cast<size_t>(rank)]];
    for (Event &event : choice.held) {
      event.fields.index = rank;
      if (event.fields.kind == INGOT_FINISH && !beams) event.fields.score = static_cast<float>(choice.mean_logprob());
      events.push_back(std::move(event));
    }
  }
}

void Job::deliver_beams(const Vocabulary &vocabulary, int32_t longest, double now, std::vector<Event> &events) {
  for (int32_t rank = 0; rank < request.n; ++rank) {
    const BeamSearch::Hypothesis &result = beams->results()[static_cast<size_t>(rank)];
    Choice text(request, vocabulary, rank, longest);
    for (size_t i = 0; i < result.tokens.size(); ++i)
      events.push_back(text.take({result.tokens[i], result.logprobs[i], {}}, request, vocabulary));
    Event event = finish_event(text, now);
    event.fields.score = result.score;
    event.text = text.rest();
    events.push_back(std::move(event));
  }
}

}  // namespace ingot
