// A sequence as the scheduler sees it: lengths, a slot, pages. Its tokens it only carries; decisions never look at
// their values.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/block_manager.h"
#include "runtime/step.h"

namespace ingot {

struct Sequence {
  uint64_t id = 0;    // of its request; smaller is older
  int32_t index = 0;  // which of its request's sequences
  int32_t priority = 0;
  int32_t adapter = 0;
  SamplingChange sampling{};
  PageKey root;       // of its pages' keys
  bool reuse = true;  // whether it finds pages of others, and they its own

  std::vector<int32_t> tokens;        // known ones: the prompt, and what was generated and committed
  std::span<const float> embeddings;  // the prompt's vectors, where it has no ids
  int32_t length = 0;           // tokens that exist once the steps in flight are committed; at least tokens.size()
  int32_t given = 0;            // tokens before go into a step by value, later ones as their slot's last token
  int32_t committed = 0;        // tokens in the cache for good
  int32_t in_flight = 0;        // tokens that steps not committed yet put there
  std::vector<int32_t> drafts;  // guesses behind `length` that the next step may check
  int32_t limit = INT32_MAX;    // tokens that ever enter the cache: the last one generated does not

  bool generates = true;           // false: only the prompt is computed
  bool wants_prompt_rows = false;  // the rows of every token of the prompt
  int32_t prompt = 0;              // tokens
  int32_t prompt_rows = 0;         // that were delivered

  int32_t forks = 0;         // sequences that begin at the end of its prompt, once that is computed
  bool needs_leader = true;  // who draws its tokens; false: the rank does
  bool speculates = false;   // each step waits for the tokens of the one before, which it may have guessed
  bool guided = false;       // the leader names its next token after every row (Scheduler::extend); it rests until then
  bool rests = false;

  int32_t slot = -1;     // -1: waiting
  bool entered = false;  // whether the ranks know who is in the slot
  int32_t matched = -1;  // tokens found in the cache when it first ran; -1: it has not run
  SequencePages pages;

  // Of the token at `position`; empty where it has an id.
  std::span<const float> embedding(int32_t position) const {
    if (embeddings.empty() || position >= prompt) return {};
    const size_t width = embeddings.size() / static_cast<size_t>(prompt);
    return embeddings.subspan(static_cast<size_t>(position) * width, width);
  }
  int32_t scheduled() const { return committed + in_flight; }
  // Tokens that a step may compute now, without drafts.
  int32_t remaining() const {
    const bool unknown = length > static_cast<int32_t>(tokens.size());
    if (rests || (unknown && (speculates || forks > 0))) return 0;
    return std::max(0, std::min(length, limit) - scheduled());
  }
};

// Whether a goes before b.
inline bool precedes(const Sequence &a, const Sequence &b) {
  if (a.priority != b.priority) return a.priority > b.priority;
  return a.id != b.id ? a.id < b.id : a.index < b.index;
}

}  // namespace ingot
