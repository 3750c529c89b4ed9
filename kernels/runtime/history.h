// The tokens of one sequence before the one that is drawn next, and how often each of them occurs. It is a function of
// these tokens alone, so preemption, prefixes found in the cache and steps in flight cannot change it.
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace ingot {

class History {
 public:
  struct Count {
    int32_t id, prompt, generated;  // both counts may be 0
  };

  // prompt: tokens that the request came with; later ones were generated.
  explicit History(int32_t prompt) : prompt_(prompt) {}

  // Afterwards it holds the first `length` tokens of the sequence. `known` are its committed tokens; those behind were
  // add()ed when they were drawn. Throws Error(INGOT_FAILED) if neither knows a token.
  void follow(std::span<const int32_t> known, int32_t length);
  void add(int32_t token);

  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const Count> counts() const { return counts_; }
  int32_t generated() const { return static_cast<int32_t>(tokens_.size()) - prompt_; }

 private:
  int32_t &count(int32_t token, size_t position);

  int32_t prompt_;
  std::vector<int32_t> tokens_;
  std::vector<Count> counts_;                      // in order of first appearance
  std::unordered_map<int32_t, uint32_t> indices_;  // into counts_, by token
};

}  // namespace ingot
