// A machine of host memory that behaves as an accelerator does: what runs on it runs later, on a thread of its own and
// in order; its memory is out of reach for everybody else; what is captured runs as often as it is launched.
#pragma once
#include <sys/mman.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ingot_device.h"
#include "ops/host.h"

namespace host {

// What tests count and order.
struct Watch {
  std::atomic<int> launches{0}, captures{0}, copies{0};     // graphs run, made; copies on the device
  std::atomic<int> blocks{0};                               // memory, events and graphs that are not given back
  std::atomic<int64_t> bytes{0}, memory{int64_t{1} << 30};  // allocated on the device; what it has
  std::atomic<int> fail_in{-1};                             // ops until one fails
  std::atomic<int> refuse_in{-1}, refuse_in_capture{-1};    // ops until one is refused when it is enqueued
  std::atomic<int> capturing{0};                            // captures that are open
};
inline Watch watch;

// Addresses of the device cannot be touched; the device finds the memory behind them.
class Memory {
 public:
  ~Memory() {
    while (!device_.empty()) release(reinterpret_cast<void *>(device_.begin()->first));
  }

  void *allocate(size_t bytes) {
    const size_t size = (bytes + 4096) / 4096 * 4096;
    void *place = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return nullptr;
    void *behind = nullptr;
    if (posix_memalign(&behind, 256, bytes + 1)) std::abort();
    std::memset(behind, 0xFF, bytes);  // NaN in every type of floats, -1 in integers
    device_[reinterpret_cast<uintptr_t>(place)] = {bytes, size, static_cast<uint8_t *>(behind)};
    watch.bytes += static_cast<int64_t>(bytes);
    ++watch.blocks;
    return place;
  }
  void release(void *place) {
    const auto found = device_.find(reinterpret_cast<uintptr_t>(place));
    if (found == device_.end()) std::abort();
    watch.bytes -= static_cast<int64_t>(found->second.bytes);
    --watch.blocks;
    munmap(place, found->second.mapped);
    std::free(found->second.behind);
    device_.erase(found);
  }
  void *pin(size_t bytes) {
    void *place = std::malloc(bytes + 1);
    pinned_[reinterpret_cast<uintptr_t>(place)] = bytes;
    ++watch.blocks;
    return place;
  }
  void unpin(void *place) {
    if (!pinned_.erase(reinterpret_cast<uintptr_t>(place))) std::abort();
    --watch.blocks;
    std::free(place);
  }

  bool is_pinned(const void *place, size_t bytes) const {
    return inside(pinned_, place, bytes, [](size_t n) { return n; });
  }
  // Where the device reads `bytes` bytes from `place`; NULL: it cannot.
  template <typename T>
  T *on_device(T *place, size_t bytes) const {
    if (is_pinned(place, bytes)) return place;
    if (!inside(device_, place, bytes, [](const Block &block) { return block.bytes; })) return nullptr;
    const auto found = std::prev(device_.upper_bound(reinterpret_cast<uintptr_t>(place)));
    return reinterpret_cast<T *>(found->second.behind + (reinterpret_cast<uintptr_t>(place) - found->first));
  }

 private:
  struct Block {
    size_t bytes, mapped;
    uint8_t *behind;
  };
  template <typename Blocks, typename Size>
  static bool inside(const Blocks &blocks, const void *place, size_t bytes, Size size) {
    const auto at = reinterpret_cast<uintptr_t>(place);
    const auto next = blocks.upper_bound(at);
    if (next == blocks.begin()) return false;
    const auto found = std::prev(next);
    return at - found->first <= size(found->second) && bytes <= size(found->second) - (at - found->first);
  }

  std::map<uintptr_t, Block> device_;
  std::map<uintptr_t, size_t> pinned_;
};

using Work = std::function<bool(std::string &)>;  // false: it failed, and says why

// Runs work in order on a thread of its own; behind work that failed nothing runs.
class Stream {
 public:
  Stream() : thread_([this] { loop(); }) {}
  ~Stream() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void add(Work work) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(work));
    }
    changed_.notify_all();
  }
  // Waits until all has run.
  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_.empty() && !busy_; });
  }
  // "" while all is well.
  std::string failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const Work work = std::move(waiting_.front());
      waiting_.pop_front();
      const bool runs = failure_.empty();
      busy_ = true;
      lock.unlock();
      std::string why;
      const bool well = !runs || work(why);
      lock.lock();
      busy_ = false;
      if (!well) failure_ = why;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> waiting_;
  bool busy_ = false, ended_ = false;
  std::string failure_;
  std::thread thread_;
};

using Graph = std::vector<Work>;

// An open device: what `self` points to.
struct Machine {
  IngotCtx *ctx;
  Memory memory;
  std::unique_ptr<Graph> capturing;  // NULL: what is enqueued runs
  Stream stream;                     // ends before the memory does

  void enqueue(Work work) { capturing ? capturing->push_back(std::move(work)) : stream.add(std::move(work)); }
  // 0, or what is wrong with the stream.
  int health() {
    const std::string failure = stream.failure();
    return failure.empty() ? 0 : ctx->host->error(ctx, "%s", failure.c_str());
  }
};

inline Machine &machine(void *self) { return *static_cast<Machine *>(self); }

}  // namespace host
