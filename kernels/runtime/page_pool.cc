#include "runtime/page_pool.h"

#include "files/sha256.h"

namespace ingot {

namespace {

PageKey key_of(Sha256 &hash) {
  PageKey key;
  std::memcpy(key.text.data(), hash.hex().data(), key.text.size());
  return key;
}

}  // namespace

PageKey PageKey::of(const PageKey &parent, std::span<const int32_t> tokens) {
  Sha256 hash;
  hash.update(parent.text.data(), parent.text.size());
  hash.update(tokens.data(), tokens.size_bytes());
  return key_of(hash);
}

PageKey PageKey::root(uint64_t adapter, std::string_view salt) {
  if (adapter == 0 && salt.empty()) return {};
  Sha256 hash;
  hash.update(&adapter, sizeof adapter);
  hash.update(salt.data(), salt.size());
  return key_of(hash);
}

PagePool::PagePool(int32_t pages)
    : references_(static_cast<size_t>(pages), 0),
      next_(static_cast<size_t>(pages), 0),
      previous_(static_cast<size_t>(pages), 0),
      keys_(static_cast<size_t>(pages)),
      published_(static_cast<size_t>(pages), 0) {
  for (int32_t page = 1; page < pages; ++page) link(page, 0);
}

// Into the ring in front of `before`; 0: at the end.
void PagePool::link(int32_t page, int32_t before) {
  const int32_t after = previous_[before];
  next_[after] = previous_[before] = page;
  previous_[page] = after;
  next_[page] = before;
  ++free_;
}

void PagePool::unlink(int32_t page) {
  next_[previous_[page]] = next_[page];
  previous_[next_[page]] = previous_[page];
  --free_;
}

int32_t PagePool::take() {
  const int32_t page = next_[0];
  if (page == 0) return 0;
  unlink(page);
  forget(page);
  references_[page] = 1;
  return page;
}

void PagePool::share(int32_t page) {
  if (references_[page]++ == 0) unlink(page);
}

void PagePool::drop(int32_t page) {
  if (--references_[page] == 0) link(page, published_[page] ? 0 : next_[0]);
}

void PagePool::publish(int32_t page, const PageKey &key) {
  if (published_[page] || !index_.emplace(key, page).second) return;
  keys_[page] = key;
  published_[page] = 1;
}

void PagePool::forget(int32_t page) {
  if (!published_[page]) return;
  index_.erase(keys_[page]);
  published_[page] = 0;
}

int32_t PagePool::find(const PageKey &key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? 0 : found->second;
}

}  // namespace ingot
