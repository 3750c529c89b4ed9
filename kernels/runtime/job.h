// One request in the works: what it asked, its sequence, its text, and the events that tell of it.
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

class Job {
 public:
  Job(Request request, const Vocabulary &vocabulary);

  Request request;
  Sequence sequence;
  std::optional<LogitsProcessor> processor;  // none: the model's logits are drawn from as they are
  double first_step_s = -1, first_token_s = -1;

  int32_t generated() const { return static_cast<int32_t>(sequence.tokens.size()) - sequence.prompt; }

  // What the sequence's last token, just added, makes of the request.
  struct Taken {
    Event event;
    IngotFinish finish;  // INGOT_RUNNING: it goes on
  };
  Taken take(const Sampled &sampled, const Vocabulary &vocabulary, int32_t longest);
  // The last event; with INGOT_ERROR its text is `sentence`.
  Event finish(IngotFinish reason, const std::string &sentence, double now);

 private:
  std::vector<int32_t> end_tokens(const Vocabulary &vocabulary) const;
  bool ends(int32_t token, const Vocabulary &vocabulary) const;

  TextStream text_;
};

}  // namespace ingot
