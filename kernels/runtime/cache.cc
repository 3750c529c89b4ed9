#include "runtime/cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "error.h"
#include "ingot.h"
#include "ops/dtype.h"

namespace ingot {
namespace {

int64_t page_bytes_of(const IngotStateTensor &tensor) {
  int64_t elements = 1;
  for (int32_t i = 1; i < tensor.rank; ++i) {
    if (tensor.shape[i] < 1 || __builtin_mul_overflow(elements, tensor.shape[i], &elements) ||
        elements > int64_t{1} << 40) {
      fail(INGOT_FOLDER, "the cache tensor '%.80s' has an absurd shape; rebuild the engine", tensor.name);
    }
  }
  return bytes_of_elements(tensor.dtype, elements);
}

// Pages that `sequences` sequences of the greatest length hold at once.
int64_t wanted_pages(const IngotEngineSpec &spec, const IngotCacheGroup &group, int64_t sequences,
                     int64_t token_budget) {
  const auto columns = [&](int64_t tokens) { return (tokens + group.page_tokens - 1) / group.page_tokens; };
  const int64_t whole = columns(spec.max_length);
  if (group.window == 0) return sequences * whole + 1;
  return sequences * std::min(whole, columns(group.window - 1) + 2) +
         std::min(sequences * whole, columns(token_budget)) + 1;
}

void check_group(const IngotEngineSpec &spec, const IngotCacheGroup &group) {
  const std::string kind = group.kind;
  if (kind != "paged" && kind != "window") {
    fail(INGOT_FOLDER,
         "cache group '%.80s' is of kind '%.40s', this Ingot serves paged and window; install a newer version",
         group.name, group.kind);
  }
  if (group.page_tokens < 1 || group.window < 0)
    fail(INGOT_FOLDER, "cache group '%.80s' has pages of %d tokens", group.name, group.page_tokens);
  if (int64_t{group.page_tokens} * spec.max_pages < spec.max_length) {
    fail(INGOT_FOLDER,
         "cache group '%.80s' has %d columns of %d tokens, too few for sequences of %d; rebuild the engine", group.name,
         spec.max_pages, group.page_tokens, spec.max_length);
  }
}

int64_t quarter_of_memory() { return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE) / 4; }

}  // namespace

int64_t bytes_per_page(const IngotCacheGroup &group) {
  int64_t bytes = 0;
  for (int32_t t = 0; t < group.n_tensors; ++t) bytes += page_bytes_of(group.tensors[t]);
  return bytes;
}

std::vector<int32_t> pages_of_groups(const IngotEngineSpec &spec, int64_t bytes, int32_t max_sequences,
                                     int32_t token_budget, int32_t ranks, int64_t available) {
  double wanted_bytes = 0;
  for (int32_t g = 0; g < spec.n_groups; ++g) {
    check_group(spec, spec.groups[g]);
    wanted_bytes += static_cast<double>(wanted_pages(spec, spec.groups[g], max_sequences, token_budget)) *
                    static_cast<double>(bytes_per_page(spec.groups[g]));
  }
  const int64_t most = bytes > 0 ? bytes : available > 0 ? available : quarter_of_memory();
  const double part_of_rank = static_cast<double>(most) / ranks;
  const double given = bytes > 0 ? part_of_rank : std::min(wanted_bytes, part_of_rank);
  const double part = wanted_bytes > 0 ? given / wanted_bytes : 0;
  std::vector<int32_t> pages;
  for (int32_t g = 0; g < spec.n_groups; ++g) {
    const IngotCacheGroup &group = spec.groups[g];
    const double count = static_cast<double>(wanted_pages(spec, group, max_sequences, token_budget)) * part;
    // A cell is an int32 on its way to the kernels.
    pages.push_back(static_cast<int32_t>(std::min(count + 1e-6, static_cast<double>(INT32_MAX / group.page_tokens))));
    if (pages.back() < 2) {
      fail(INGOT_INVALID,
           "%s%lld; group '%.80s' needs two pages of %lld bytes on every rank at the very least, and %.0f bytes in all "
           "hold %d sequences of %d tokens",
           bytes > 0 ? "cache_bytes is " : "bytes that are left for cache groups: ", static_cast<long long>(most),
           group.name, static_cast<long long>(bytes_per_page(group)), wanted_bytes * ranks, max_sequences,
           spec.max_length);
    }
  }
  return pages;
}

// A tensor's memory.
void *Cache::allocate(size_t bytes, const char *name) {
  if (accelerator_) {
    memory_.emplace_back(accelerator_, bytes).fill(0);
    return memory_.back().data();
  }
  void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    fail(INGOT_MACHINE, "cannot map %zu bytes for the cache tensor '%.80s': %s; open the engine with fewer cache_bytes",
         bytes, name, std::strerror(errno));
  }
  return data;
}

Cache::Cache(const IngotEngineSpec &spec, std::vector<int32_t> pages, const Accelerator &accelerator)
    : accelerator_(accelerator), pages_(std::move(pages)) {
  tensors_.resize(pages_.size());
  pointers_.resize(pages_.size());
  for (size_t g = 0; g < pages_.size(); ++g) {
    const IngotCacheGroup &group = spec.groups[g];
    for (int32_t t = 0; t < group.n_tensors; ++t) {
      const auto page_bytes = static_cast<size_t>(page_bytes_of(group.tensors[t]));
      const size_t bytes = std::max<size_t>(1, page_bytes * static_cast<size_t>(pages_[g]));
      void *data = allocate(bytes, group.tensors[t].name);
      tensors_[g].push_back({data, page_bytes, bytes});
      pointers_[g].push_back(data);
      bytes_ += static_cast<int64_t>(bytes);
    }
    group_pointers_.push_back(pointers_[g].data());
  }
  pools_ = {sizeof pools_, static_cast<int32_t>(pages_.size()), pages_.data(), group_pointers_.data()};
}

Cache::~Cache() {
  if (accelerator_) return;
  for (const auto &group : tensors_) {
    for (const Tensor &tensor : group) munmap(tensor.data, tensor.bytes);
  }
}

void Cache::copy(std::span<const PageCopy> copies) {
  for (const PageCopy &copy : copies) {
    const auto groups = static_cast<int32_t>(pages_.size());
    if (copy.group < 0 || copy.group >= groups || copy.from < 0 || copy.to < 1 || copy.from == copy.to ||
        std::max(copy.from, copy.to) >= pages_[copy.group]) {
      fail(INGOT_FAILED, "a step message copies page %d to page %d of group %d, which is out of range", copy.from,
           copy.to, copy.group);
    }
    for (const Tensor &tensor : tensors_[static_cast<size_t>(copy.group)]) {
      auto *data = static_cast<uint8_t *>(tensor.data);
      uint8_t *to = data + tensor.page_bytes * static_cast<size_t>(copy.to);
      const uint8_t *from = data + tensor.page_bytes * static_cast<size_t>(copy.from);
      if (accelerator_) {
        accelerator_.check(accelerator_.api->copy(accelerator_.self, to, from, tensor.page_bytes, nullptr));
      } else {
        std::memcpy(to, from, tensor.page_bytes);
      }
    }
  }
}

}  // namespace ingot
