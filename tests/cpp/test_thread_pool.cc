// The thread pool: every index once, whatever the sizes; sleeping, nested and simultaneous use; ends without a job.
#undef NDEBUG
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "ops/thread_pool.h"

using namespace ingot;

namespace {

struct Job {
  ThreadPool &pool;
  std::vector<int> touched;  // parts are disjoint, so nothing need be atomic
  int64_t grain;
  std::atomic<int64_t> parts{0}, short_parts{0};

  Job(ThreadPool &of, int64_t n, int64_t least) : pool(of), touched(static_cast<size_t>(n)), grain(least) {}

  void run() {
    pool.parallel_for(static_cast<int64_t>(touched.size()), grain, [](void *self, int64_t begin, int64_t end) {
      Job &job = *static_cast<Job *>(self);
      job.parts += 1;
      job.short_parts += end - begin < job.grain;
      for (int64_t i = begin; i < end; ++i) job.touched[static_cast<size_t>(i)] += 1;
    }, this);
  }

  bool each_once() const {
    for (const int count : touched) {
      if (count != 1) return false;
    }
    return true;
  }
};

void test_every_index_comes_once() {
  for (const int threads : {-1, 1, 2, 3, 8}) {
    ThreadPool pool(threads);
    assert(pool.size() == (threads < 1 ? 1 : threads));
    for (const int64_t n : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {-3, 0, 1, 5, 64, 5000}) {
        Job job(pool, n, grain);
        job.run();
        assert(job.each_once() && job.short_parts <= 1 && (n > 0) == (job.parts > 0));
      }
    }
  }
}

// Results are there when parallel_for returns, without a lock or an atomic of the body's own.
void test_many_jobs_in_a_row() {
  ThreadPool pool(4);
  for (int round = 0; round < 5000; ++round) {
    Job job(pool, 1 + round % 50, 1);
    job.run();
    assert(job.each_once());
  }
}

void test_sleeping_workers_wake() {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (round % 5)));
    Job job(pool, 300, 1);
    job.run();
    assert(job.each_once());
  }
}

void test_a_body_may_call() {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  struct Outer {
    ThreadPool &pool;
    std::atomic<int64_t> &sum;
  } outer{pool, sum};
  pool.parallel_for(40, 1, [](void *self, int64_t begin, int64_t end) {
    const Outer &outer = *static_cast<Outer *>(self);
    for (int64_t i = begin; i < end; ++i) {
      outer.pool.parallel_for(10, 1, [](void *sum, int64_t from, int64_t to) {
        *static_cast<std::atomic<int64_t> *>(sum) += to - from;
      }, &outer.sum);
    }
  }, &outer);
  assert(sum == 400);
}

void test_two_threads_may_call() {
  ThreadPool pool(3);
  const auto call = [&] {
    for (int round = 0; round < 500; ++round) {
      Job job(pool, 100, 1);
      job.run();
      assert(job.each_once());
    }
  };
  std::thread other(call);
  call();
  other.join();
}

void test_it_ends_awake_and_asleep() {
  for (int round = 0; round < 30; ++round) {
    ThreadPool pool(4);
    if (round % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    Job job(pool, 8, 1);
    if (round % 2) job.run();
  }
}

}  // namespace

int main() {
  test_every_index_comes_once();
  test_many_jobs_in_a_row();
  test_sleeping_workers_wake();
  test_a_body_may_call();
  test_two_threads_may_call();
  test_it_ends_awake_and_asleep();
  std::puts("thread pool: ok");
}
