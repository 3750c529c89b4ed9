#include "runtime/barrier.h"

#include <thread>

#include "spin.h"

namespace ingot {

Barrier::Barrier(int32_t members)
    : members_(members),
      spins_(static_cast<uint32_t>(members) <= std::thread::hardware_concurrency()),
      missing_(members) {}

bool Barrier::wait() {
  if (broken_.load(std::memory_order_acquire)) return false;
  const uint32_t meeting = meetings_.load(std::memory_order_relaxed);  // ends only after this member has come
  if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    missing_.store(members_, std::memory_order_relaxed);
    {
      const std::lock_guard lock(mutex_);
      meetings_.store(meeting + 1, std::memory_order_release);
    }
    changed_.notify_all();
    return true;
  }
  const auto met = [&] { return meetings_.load(std::memory_order_acquire) != meeting; };
  const auto done = [&] { return met() || broken_.load(std::memory_order_acquire); };
  if (!spins_ || !spin_until(done)) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, done);
  }
  return met();
}

void Barrier::break_up() {
  {
    const std::lock_guard lock(mutex_);
    broken_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
}

}  // namespace ingot
