// How long the calls of one op took: written by the thread that runs steps, read by any.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace ingot {

class OpClock {
 public:
  using Clock = std::chrono::steady_clock;

  void add(Clock::duration time) {
    const int64_t nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    const int64_t before = calls_.load(std::memory_order_relaxed), least = shortest_.load(std::memory_order_relaxed);
    shortest_.store(before ? std::min(least, nanoseconds) : nanoseconds, std::memory_order_relaxed);
    sum_.store(sum_.load(std::memory_order_relaxed) + nanoseconds, std::memory_order_relaxed);
    calls_.store(before + 1, std::memory_order_relaxed);
  }

  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }
  double seconds() const { return 1e-9 * static_cast<double>(sum_.load(std::memory_order_relaxed)); }
  double shortest() const { return 1e-9 * static_cast<double>(shortest_.load(std::memory_order_relaxed)); }

 private:
  std::atomic<int64_t> calls_{0}, sum_{0}, shortest_{0};
};

}  // namespace ingot
