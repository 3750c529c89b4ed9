// Where threads wait for each other: they spin for a moment, then sleep; and whoever fails lets all others go.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace ingot {

class Barrier {
 public:
  explicit Barrier(int32_t members);
  Barrier(const Barrier &) = delete;
  Barrier &operator=(const Barrier &) = delete;

  // Returns true when every member has called it; what they wrote before is then seen by all. False, and at once from
  // then on, after break_up().
  bool wait();
  // Lets everybody go who waits or will.
  void break_up();

 private:
  const int32_t members_;
  const bool spins_;  // not where members are more than processors: those who spin keep the others from coming
  std::atomic<uint32_t> meetings_{0};
  std::atomic<int32_t> missing_;
  std::atomic<bool> broken_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace ingot
