// Token sequences that must not be generated, found by the end of the text: a trie over the words without their last
// tokens, read backwards, so that a step costs as many look-ups as the longest match has tokens, however many words
// there are.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace ingot {

class BadWords {
 public:
  // Word i is the next lengths[i] >= 1 of `tokens`.
  BadWords(std::span<const int32_t> tokens, std::span<const int32_t> lengths);

  // Appends to `forbidden` every token that would complete a word after `tokens`; one may come twice.
  void find(std::span<const int32_t> tokens, std::vector<int32_t> &forbidden) const;

 private:
  struct Edge {
    uint64_t key = 0;
    int32_t node = -1;  // -1: the place in the table is empty
  };
  struct End {
    int32_t token, next;  // the next of the same node; -1: none
  };

  size_t place(int32_t node, int32_t token) const;
  int32_t child(int32_t node, int32_t token);
  void add_ends(int32_t node, std::vector<int32_t> &forbidden) const;

  std::vector<Edge> edges_;          // open addressing; the size is a power of two
  std::vector<int32_t> first_ends_;  // by node: its first word end; -1: none. Node 0 is the root
  std::vector<End> ends_;
};

// Requests with equal words share them: a long list takes time to build and memory to keep. For any thread.
class BadWordsShelf {
 public:
  // As the constructor of BadWords; NULL of no words.
  std::shared_ptr<const BadWords> get(std::span<const int32_t> tokens, std::span<const int32_t> lengths);

 private:
  struct Entry {
    uint64_t hash;
    std::vector<int32_t> tokens, lengths;
    std::weak_ptr<const BadWords> words;
  };

  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::shared_ptr<const BadWords> last_;  // stays when no request has it any more
};

}  // namespace ingot
