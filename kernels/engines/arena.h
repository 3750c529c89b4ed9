// One block of memory for all that a step computes: things that live at the same time never share a byte, others may.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ingot {

// Something that needs memory from op `first` to op `last`, both included.
struct ArenaBlock {
  int64_t bytes = 0;
  int32_t first = 0, last = 0;
  int64_t offset = 0;  // where plan_arena put it: a multiple of 256
};

// Greedy by size: the largest block first, each into the smallest gap that fits (Pisarchyk and Lee, "Efficient Memory
// Management for Deep Neural Net Inference", 2020, arXiv 2001.03288, section 5). Returns the bytes of the whole.
int64_t plan_arena(std::vector<ArenaBlock> &blocks);

// Zeroed memory that takes up space only where it is touched.
class Arena {
 public:
  Arena() = default;
  explicit Arena(int64_t bytes);  // throws Error(INGOT_MACHINE)
  Arena(Arena &&) noexcept;
  Arena &operator=(Arena &&) noexcept;
  ~Arena();

  uint8_t *data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t *data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace ingot
