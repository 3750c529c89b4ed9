// One request in the works: what it asked, its choices, and how they become events.
//
// The first choice computes the prompt; the others fork from it at its end, each with noise of its own. best_of and
// beam search hold every event back until the request has ended: then the best n choices are told, best first.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/beam_search.h"
#include "runtime/choice.h"
#include "runtime/event.h"
#include "runtime/request.h"

namespace ingot {

class Job {
 public:
  Job(Request request, const Vocabulary &vocabulary, int32_t longest);

  Request request;
  std::vector<std::unique_ptr<Choice>> choices;
  std::optional<BeamSearch> beams;
  std::vector<int32_t> places;  // choices[places[b]] computes beam b
  double first_step_s = -1, first_token_s = -1;

  Choice &choice(const Sequence &sequence) { return *choices[static_cast<size_t>(sequence.index)]; }
  int32_t beam_of(const Sequence &sequence) const;
  bool ended() const;

  // A token of `choice` was drawn.
  void take(Choice &choice, const Sampled &sampled, const Vocabulary &vocabulary, std::vector<Event> &events);
  // `choice` ends; with INGOT_ERROR its text is `sentence`.
  void end(Choice &choice, IngotFinish reason, const std::string &sentence, double now, std::vector<Event> &events);
  // Every choice has ended: the events that were held back.
  void deliver(std::vector<Event> &events);
  // The beam search has ended: the events of its n best texts.
  void deliver_beams(const Vocabulary &vocabulary, int32_t longest, double now, std::vector<Event> &events);

 private:
  bool holds() const { return beams || request.best_of > request.n; }
  Event finish_event(const Choice &choice, double now) const;
};

}  // namespace ingot
