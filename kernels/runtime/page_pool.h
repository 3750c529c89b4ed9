// The pages of one cache group: who counts on them, which are free, and what the free ones still hold.
//
// A page that nobody counts on keeps its contents until it is taken again. If it was published under a key, a later
// sequence with the same prefix finds it. Pages are taken least recently used first, those without contents before all
// others.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ingot {

// What a page holds: a hash of (the key of the page before, tokens), the first of a chain hashing what besides the
// tokens decides a page's contents or who may see them: adapter and salt. 128 bits of SHA-256, as hexadecimal text: to
// find two chains of one key takes 2^64 hashes, and without knowing a salt nobody can name a key under it. Equal keys
// are taken for equal contents.
struct PageKey {
  std::array<char, 32> text{};

  bool operator==(const PageKey &) const = default;
  static PageKey of(const PageKey &parent, std::span<const int32_t> tokens);
  // The parent of a sequence's first page; all zeros without adapter and salt.
  static PageKey root(uint64_t adapter, std::string_view salt);
};

class PagePool {
 public:
  // Pages 1 … pages-1; page 0 is the null page and belongs to nobody.
  explicit PagePool(int32_t pages);

  int32_t size() const { return static_cast<int32_t>(references_.size()); }
  int32_t free_pages() const { return free_; }
  int32_t references(int32_t page) const { return references_[page]; }

  // A page that the caller alone counts on, its contents forgotten; 0 if none is free.
  int32_t take();
  void share(int32_t page);
  void drop(int32_t page);

  // From now on find(key) gives this page, unless another page already holds the same.
  void publish(int32_t page, const PageKey &key);
  void forget(int32_t page);
  int32_t find(const PageKey &key) const;  // 0: none

 private:
  struct Hash {
    size_t operator()(const PageKey &key) const {
      size_t word;
      std::memcpy(&word, key.text.data(), sizeof word);
      return word;
    }
  };
  void link(int32_t page, int32_t before);
  void unlink(int32_t page);

  std::vector<int32_t> references_, next_, previous_;  // a ring of the free pages; page 0 stands for its two ends
  std::vector<PageKey> keys_;
  std::vector<uint8_t> published_;
  std::unordered_map<PageKey, int32_t, Hash> index_;
  int32_t free_ = 0;
};

}  // namespace ingot
