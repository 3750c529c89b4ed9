#include "ops/thread_pool.h"

#include <algorithm>

#include "spin.h"

namespace ingot {
namespace {

// state_: bits 0 … 15 workers in the job, bit 16 whether it is open, above that its number.
constexpr uint64_t joined_mask = 0xffff, open_bit = 1 << 16, one_job = 1 << 17;
constexpr int max_threads = 1024;
constexpr int parts_per_thread = 4;  // so that a thread that starts late or is interrupted holds nobody up

uint64_t number_of(uint64_t state) { return state / one_job; }

}  // namespace

ThreadPool::ThreadPool(int threads) {
  const int count = std::clamp(threads, 1, max_threads) - 1;
  workers_.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) workers_.emplace_back([this] { work(); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  awake_.notify_all();
  for (std::thread &worker : workers_) worker.join();
}

void ThreadPool::parallel_for(int64_t n, int64_t grain, void (*body)(void *, int64_t, int64_t), void *arg) {
  if (n <= 0) return;
  const int64_t share = (n - 1) / (int64_t{size()} * parts_per_thread) + 1;
  const int64_t part = std::max<int64_t>({grain, share, 1});
  if (workers_.empty() || part >= n || busy_.exchange(true, std::memory_order_acquire)) {
    body(arg, 0, n);
    return;
  }
  body_ = body;
  arg_ = arg;
  n_ = n;
  part_ = part;
  next_.store(0, std::memory_order_relaxed);
  publish();
  take_parts();
  close();
  busy_.store(false, std::memory_order_release);
}

// Opens the job. A worker that is about to sleep has counted itself in sleepers_ before it looked at state_ for the
// last time, so either it sees the job or it is seen here.
void ThreadPool::publish() {
  state_.store((number_of(state_.load(std::memory_order_relaxed)) + 1) * one_job + open_bit);
  if (sleepers_.load() == 0) return;
  { const std::lock_guard lock(mutex_); }
  awake_.notify_all();
}

// Nobody may join any more; waits for those who have.
void ThreadPool::close() {
  state_.fetch_and(~open_bit, std::memory_order_acq_rel);
  const auto empty = [this] { return (state_.load(std::memory_order_acquire) & joined_mask) == 0; };
  while (!spin_until(empty)) std::this_thread::yield();
}

void ThreadPool::take_parts() {
  for (;;) {
    const int64_t begin = next_.fetch_add(part_, std::memory_order_relaxed);
    if (begin >= n_) return;
    body_(arg_, begin, std::min(begin + part_, n_));
  }
}

void ThreadPool::work() {
  uint64_t seen = 0;
  while (wait_for_job(seen)) {
    if (!join(seen)) continue;
    take_parts();
    state_.fetch_sub(1, std::memory_order_release);
  }
}

// Returns when there is an open job after number `seen`; false when the pool ends.
bool ThreadPool::wait_for_job(uint64_t &seen) {
  const auto ready = [&] {
    const uint64_t state = state_.load();
    return stop_.load(std::memory_order_relaxed) || ((state & open_bit) && number_of(state) != seen);
  };
  if (!spin_until(ready)) {
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1);
    awake_.wait(lock, ready);
    sleepers_.fetch_sub(1);
  }
  return !stop_.load(std::memory_order_relaxed);
}

bool ThreadPool::join(uint64_t &seen) {
  uint64_t state = state_.load(std::memory_order_relaxed);
  do {
    if (!(state & open_bit) || number_of(state) == seen) return false;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed));
  seen = number_of(state);
  return true;
}

}  // namespace ingot
