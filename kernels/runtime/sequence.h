// A sequence as the scheduler sees it: lengths, a slot, pages. Its tokens it only carries; decisions never look at
// their values.
#pragma once
#include <cstdint>
#include <vector>

#include "runtime/block_manager.h"
#include "runtime/step.h"

namespace ingot {

struct Sequence {
  uint64_t id = 0;  // of its request; smaller is older
  int32_t priority = 0;
  int32_t adapter = 0;
  SamplingChange sampling{};

  std::vector<int32_t> tokens;  // known ones: the prompt, and what was generated and committed
  int32_t length = 0;           // tokens that exist once the steps in flight are committed; at least tokens.size()
  int32_t given = 0;            // tokens before go into a step by value, later ones as their slot's last token
  int32_t committed = 0;        // tokens in the cache for good
  int32_t in_flight = 0;        // tokens that steps not committed yet put there
  int32_t drafted = 0;          // guesses behind `length` that a step may check

  bool generates = true;           // false: only the prompt is computed
  bool wants_prompt_rows = false;  // logits of every token of the prompt
  int32_t prompt = 0;              // tokens
  int32_t prompt_rows = 0;         // whose logits were delivered

  int32_t slot = -1;     // -1: waiting
  bool entered = false;  // whether the ranks know who is in the slot
  int32_t matched = -1;  // tokens found in the cache when it first ran; -1: it has not run
  SequencePages pages;

  int32_t scheduled() const { return committed + in_flight; }
  int32_t remaining() const { return length + drafted - scheduled(); }
};

// Whether a goes before b.
inline bool precedes(const Sequence &a, const Sequence &b) {
  return a.priority != b.priority ? a.priority > b.priority : a.id < b.id;
}

}  // namespace ingot
