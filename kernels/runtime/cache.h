// Memory of the cache groups: how many pages each gets, and the mappings that hold them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engines/accelerator.h"
#include "ingot_engine.h"
#include "runtime/step.h"

namespace ingot {

// Bytes of one page in all tensors of a group.
int64_t bytes_per_page(const IngotCacheGroup &group);

// Pages of every group, null page included. `bytes` 0: enough for max_sequences of max_length, at most `available`
// bytes, 0 being a quarter of this machine's memory; else what fits into `bytes`. Of `ranks` on this machine each has
// an equal part. Groups share the bytes as their needs are. Throws Error(INGOT_INVALID) when too little is left for one
// page, Error(INGOT_FOLDER) for a kind of group that this runtime does not serve.
std::vector<int32_t> pages_of_groups(const IngotEngineSpec &spec, int64_t bytes, int32_t max_sequences,
                                     int32_t token_budget, int32_t ranks = 1, int64_t available = 0);

class Cache {
 public:
  // Zeroed memory; on the CPU it takes up space only where it is touched. Throws Error(INGOT_MACHINE).
  Cache(const IngotEngineSpec &spec, std::vector<int32_t> pages, const Accelerator &accelerator = {});
  ~Cache();
  Cache(const Cache &) = delete;
  Cache &operator=(const Cache &) = delete;

  const std::vector<int32_t> &pages() const { return pages_; }
  int64_t bytes() const { return bytes_; }
  const IngotPools *pools() const { return &pools_; }

  // On an accelerator in stream order.
  void copy(std::span<const PageCopy> copies);

 private:
  struct Tensor {
    void *data;
    size_t page_bytes, bytes;
  };

  void *allocate(size_t bytes, const char *name);

  Accelerator accelerator_;
  std::vector<DeviceMemory> memory_;  // on the accelerator
  std::vector<int32_t> pages_;
  std::vector<std::vector<Tensor>> tensors_;  // per group
  std::vector<std::vector<void *>> pointers_;
  std::vector<void *const *> group_pointers_;
  IngotPools pools_{};
  int64_t bytes_ = 0;
};

}  // namespace ingot
