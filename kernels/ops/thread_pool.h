// The engine's threads: one job at a time is handed out in parts, and the caller takes part in it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace ingot {

class ThreadPool {
 public:
  // threads counts the caller; 1 or less: everything runs in the caller.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(arg, begin, end) over disjoint parts that cover 0 … n-1, each of at least `grain` but for the last,
  // and returns when all are done. Which thread takes which part is not defined. A call from inside a body, or
  // while another thread's call runs, is done by its caller alone. The body must not throw.
  void parallel_for(int64_t n, int64_t grain, void (*body)(void *, int64_t, int64_t), void *arg);

 private:
  void work();
  bool wait_for_job(uint64_t &seen);
  bool join(uint64_t &seen);
  void take_parts();
  void publish();
  void close();

  std::vector<std::thread> workers_;
  std::atomic<bool> busy_{false};

  // The job. Written only while it is closed and nobody has joined it.
  void (*body_)(void *, int64_t, int64_t) = nullptr;
  void *arg_ = nullptr;
  int64_t n_ = 0, part_ = 1;
  std::atomic<int64_t> next_{0};

  // Number of the job, whether it may be joined, and how many workers are in it (thread_pool.cc).
  alignas(64) std::atomic<uint64_t> state_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable awake_;
};

}  // namespace ingot
