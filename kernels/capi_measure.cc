// The function of ingot.h that measures the machine: what the speed of an engine is compared with.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "capi_boundary.h"
#include "error.h"
#include "ingot.h"
#include "ops/thread_pool.h"

using namespace ingot;

namespace {

constexpr int64_t block = 256 << 10;          // bytes that one thread reads at a time
constexpr int64_t most = int64_t{1} << 30;    // of the memory that is read: far more than caches hold
constexpr int64_t least = int64_t{64} << 20;  // with less, caches would be measured
constexpr int64_t huge_page = 2 << 20;        // bytes
constexpr int64_t ahead = 4096;               // bytes between a load and the prefetch before it
using Reader = uint64_t (*)(const uint8_t *, int64_t);

uint64_t read_portable(const uint8_t *data, int64_t bytes) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i < bytes; i += 64) {
    uint64_t words[8];
    std::memcpy(words, data + i, 64);
    for (int k = 0; k < 8; ++k) sums[k] ^= words[k];
  }
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) uint64_t read_avx512(const uint8_t *data, int64_t bytes) {
  __m512i sums[4] = {};
  for (int64_t i = 0; i < bytes; i += 256) {
    for (int k = 0; k < 4; ++k) {
      _mm_prefetch(reinterpret_cast<const char *>(data + i + k * 64 + ahead), _MM_HINT_T0);
      sums[k] = _mm512_xor_si512(sums[k], _mm512_load_si512(data + i + k * 64));
    }
  }
  return static_cast<uint64_t>(
      _mm512_reduce_or_epi64(_mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]), _mm512_xor_si512(sums[2], sums[3]))));
}

__attribute__((target("avx2"))) uint64_t read_avx2(const uint8_t *data, int64_t bytes) {
  __m256i sums[4] = {};
  for (int64_t i = 0; i < bytes; i += 128) {
    for (int k = 0; k < 4; ++k) {
      if (k % 2 == 0) _mm_prefetch(reinterpret_cast<const char *>(data + i + k * 32 + ahead), _MM_HINT_T0);
      sums[k] = _mm256_xor_si256(sums[k], _mm256_load_si256(reinterpret_cast<const __m256i *>(data + i + k * 32)));
    }
  }
  const __m256i sum = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(sum, 0) ^ _mm256_extract_epi64(sum, 1) ^
                               _mm256_extract_epi64(sum, 2) ^ _mm256_extract_epi64(sum, 3));
}
#endif

Reader reader() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
  return read_portable;
}

struct Pass {
  const uint8_t *data;
  Reader read;
  std::atomic<uint64_t> seen{0};  // so that no compiler leaves out a load
};

// Bytes per second of the best of the passes over much more memory than caches hold, all threads reading in order.
double read_rate(int32_t threads, double seconds) {
  const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  const int64_t bytes = std::clamp(memory / 8, least, most) / huge_page * huge_page;
  const std::unique_ptr<uint8_t, decltype(&std::free)> data(
      static_cast<uint8_t *>(std::aligned_alloc(huge_page, static_cast<size_t>(bytes))), &std::free);
  if (!data) throw std::bad_alloc();
#if defined(__linux__)
  madvise(data.get(), static_cast<size_t>(bytes), MADV_HUGEPAGE);  // as an engine's weights are mapped
#endif

  ThreadPool pool(threads);
  const auto touch = [](void *arg, int64_t begin, int64_t end) {
    std::memset(static_cast<uint8_t *>(arg) + begin * block, 1, static_cast<size_t>((end - begin) * block));
  };
  pool.parallel_for(bytes / block, 1, touch, data.get());
  Pass pass{data.get(), reader(), {}};
  const auto body = [](void *arg, int64_t begin, int64_t end) {
    auto &pass = *static_cast<Pass *>(arg);
    pass.seen ^= pass.read(pass.data + begin * block, (end - begin) * block);
  };
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto start = Clock::now();
  double best = 0;
  do {
    const auto began = Clock::now();
    pool.parallel_for(bytes / block, 1, body, &pass);
    best = std::max(best, static_cast<double>(bytes) / since(began));
  } while (since(start) < seconds);
  return best;
}

}  // namespace

extern "C" {

int ingot_measure(const char *kind, int32_t threads, double seconds, double *result) {
  return guarded([&] {
    if (!kind || !result) fail(INGOT_INVALID, "ingot_measure: %s is NULL", kind ? "the result" : "the kind");
    if (std::string(kind) != "read") fail(INGOT_INVALID, "ingot_measure: '%.40s' is unknown; it measures: read", kind);
    if (threads < 1 || threads > 4096) fail(INGOT_INVALID, "threads is %d; it must be from 1 to 4096", threads);
    if (!(seconds >= 0 && seconds <= 3600)) fail(INGOT_INVALID, "seconds is %g; it must be from 0 to 3600", seconds);
    *result = read_rate(threads, seconds);
  });
}

}  // extern "C"
