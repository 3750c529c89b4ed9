#include "runtime/bad_words.h"

#include <algorithm>
#include <bit>

namespace ingot {

BadWords::BadWords(std::span<const int32_t> tokens, std::span<const int32_t> lengths) {
  edges_.resize(std::bit_ceil(2 * tokens.size()));  // at most one edge for each token: the table stays half empty
  first_ends_.push_back(-1);
  ends_.reserve(lengths.size());
  for (const int32_t length : lengths) {
    const std::span<const int32_t> word = tokens.first(static_cast<size_t>(length));
    tokens = tokens.subspan(static_cast<size_t>(length));
    int32_t node = 0;
    for (size_t i = word.size() - 1; i-- > 0;) node = child(node, word[i]);
    ends_.push_back({word.back(), first_ends_[static_cast<size_t>(node)]});
    first_ends_[static_cast<size_t>(node)] = static_cast<int32_t>(ends_.size()) - 1;
  }
}

// Where the edge is, or the empty place where it would be.
size_t BadWords::place(int32_t node, int32_t token) const {
  const uint64_t key = static_cast<uint64_t>(node) << 32 | static_cast<uint32_t>(token);
  uint64_t hash = key * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 32;
  const size_t mask = edges_.size() - 1;
  size_t at = hash & mask;
  while (edges_[at].node >= 0 && edges_[at].key != key) at = (at + 1) & mask;
  return at;
}

int32_t BadWords::child(int32_t node, int32_t token) {
  Edge &edge = edges_[place(node, token)];
  if (edge.node < 0) {
    edge = {static_cast<uint64_t>(node) << 32 | static_cast<uint32_t>(token), static_cast<int32_t>(first_ends_.size())};
    first_ends_.push_back(-1);
  }
  return edge.node;
}

void BadWords::find(std::span<const int32_t> tokens, std::vector<int32_t> &forbidden) const {
  int32_t node = 0;
  add_ends(node, forbidden);
  for (size_t i = tokens.size(); i-- > 0;) {
    node = edges_[place(node, tokens[i])].node;
    if (node < 0) return;
    add_ends(node, forbidden);
  }
}

void BadWords::add_ends(int32_t node, std::vector<int32_t> &forbidden) const {
  for (int32_t end = first_ends_[static_cast<size_t>(node)]; end >= 0; end = ends_[static_cast<size_t>(end)].next)
    forbidden.push_back(ends_[static_cast<size_t>(end)].token);
}

std::shared_ptr<const BadWords> BadWordsShelf::get(std::span<const int32_t> tokens, std::span<const int32_t> lengths) {
  if (lengths.empty()) return nullptr;
  uint64_t hash = lengths.size();
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001B3u;
  const std::lock_guard lock(mutex_);
  for (const Entry &entry : entries_) {
    if (entry.hash == hash && std::ranges::equal(entry.tokens, tokens) && std::ranges::equal(entry.lengths, lengths)) {
      if (auto words = entry.words.lock()) return last_ = std::move(words);
    }
  }
  auto words = std::make_shared<const BadWords>(tokens, lengths);
  last_ = words;
  std::erase_if(entries_, [](const Entry &entry) { return entry.words.expired(); });
  entries_.push_back({hash, {tokens.begin(), tokens.end()}, {lengths.begin(), lengths.end()}, words});
  return words;
}

}  // namespace ingot
