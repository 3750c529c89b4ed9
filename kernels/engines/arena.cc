#include "engines/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr int64_t alignment = 256;  // as the memory of GPUs comes

int64_t aligned(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

// The smallest gap between `placed`, sorted by offset, that holds `bytes`; behind the last if there is none.
int64_t best_gap(const std::vector<const ArenaBlock *> &placed, int64_t bytes) {
  int64_t end = 0, best = -1, best_size = INT64_MAX;
  for (const ArenaBlock *block : placed) {
    const int64_t gap = block->offset - end;
    if (gap >= bytes && gap < best_size) {
      best = end;
      best_size = gap;
    }
    end = std::max(end, block->offset + aligned(block->bytes));
  }
  return best >= 0 ? best : end;
}

}  // namespace

int64_t plan_arena(std::vector<ArenaBlock> &blocks) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<const ArenaBlock *> placed, together;  // placed: sorted by offset
  int64_t total = 0;
  for (const size_t i : order) {
    ArenaBlock &block = blocks[i];
    together.clear();
    for (const ArenaBlock *other : placed) {
      if (other->first <= block.last && block.first <= other->last) together.push_back(other);
    }
    block.offset = best_gap(together, aligned(block.bytes));
    total = std::max(total, block.offset + aligned(block.bytes));
    const auto behind =
        std::upper_bound(placed.begin(), placed.end(), block.offset,
                         [](int64_t offset, const ArenaBlock *other) { return offset < other->offset; });
    placed.insert(behind, &block);
  }
  return total;
}

Arena::Arena(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void *memory = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    fail(INGOT_MACHINE, "%lld bytes for activations cannot be had: %s; build the engine with a smaller max_tokens",
         static_cast<long long>(bytes), std::strerror(errno));
  }
  data_ = static_cast<uint8_t *>(memory);
}

Arena::Arena(Arena &&other) noexcept { *this = std::move(other); }

Arena &Arena::operator=(Arena &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Arena::~Arena() {
  if (data_) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace ingot
