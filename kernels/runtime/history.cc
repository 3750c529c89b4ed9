#include "runtime/history.h"

#include <algorithm>

#include "error.h"
#include "ingot.h"

namespace ingot {

void History::follow(std::span<const int32_t> known, int32_t length) {
  const auto wanted = static_cast<size_t>(length);
  const size_t shared = std::min({wanted, known.size(), tokens_.size()});
  const auto differs = std::mismatch(known.begin(), known.begin() + static_cast<ptrdiff_t>(shared), tokens_.begin());
  const auto same = static_cast<size_t>(differs.first - known.begin());
  const size_t kept = same < shared ? same : std::min(wanted, tokens_.size());
  while (tokens_.size() > kept) {
    --count(tokens_.back(), tokens_.size() - 1);
    tokens_.pop_back();
  }
  while (tokens_.size() < std::min(wanted, known.size())) add(known[tokens_.size()]);
  if (tokens_.size() < wanted) {
    fail(INGOT_FAILED, "token %d of a sequence is to be drawn, but only %zu before it are known", length,
         tokens_.size());
  }
}

void History::add(int32_t token) {
  ++count(token, tokens_.size());
  tokens_.push_back(token);
}

int32_t &History::count(int32_t token, size_t position) {
  const auto [found, is_new] = indices_.try_emplace(token, static_cast<uint32_t>(counts_.size()));
  if (is_new) counts_.push_back({token, 0, 0});
  Count &count = counts_[found->second];
  return position < static_cast<size_t>(prompt_) ? count.prompt : count.generated;
}

}  // namespace ingot
