// The fake engine: costs nothing, computes by a rule that a test can repeat, and yet needs every page to be the right
// one.
//
// Of plan.txt it looks at max, vocab, group, state and field lines only. It writes each token's id into its cell of
// every group (the first tensor of the group; four bytes a cell) and reads the tokens of a sequence back through the
// page table. The logits of a row are 0 but for one score of 100 at the token that fake_next_token gives for the tokens
// read back. A page that two sequences own, a wrong page table or a cell never written therefore gives a wrong token.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "ingot_engine.h"

namespace ingot {

const IngotEngineApi *fake_engine();

inline constexpr float fake_score = 100;

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
inline uint64_t fake_mix(uint64_t z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

// What one token at one position adds to the sum of a group.
inline uint64_t fake_trace(int32_t token, int64_t position) {
  return fake_mix(static_cast<uint32_t>(token) + static_cast<uint64_t>(position + 1) * 0x9E3779B97F4A7C15u);
}

// The token after `tokens` (a whole sequence from position 0). windows: per cache group the tokens that it sees, 0 for
// all; a plan without groups has the one window 1.
inline int32_t fake_next_token(std::span<const int32_t> tokens, std::span<const int32_t> windows, int32_t vocab) {
  uint64_t answer = 0;
  for (const int32_t window : windows) {
    uint64_t sum = 0;
    const size_t seen =
        window == 0 || static_cast<size_t>(window) > tokens.size() ? tokens.size() : static_cast<size_t>(window);
    for (size_t i = tokens.size() - seen; i < tokens.size(); ++i) sum += fake_trace(tokens[i], static_cast<int64_t>(i));
    answer = fake_mix(answer ^ sum);
  }
  return static_cast<int32_t>(answer % static_cast<uint32_t>(vocab));
}

}  // namespace ingot
