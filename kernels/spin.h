// Waiting for another thread that is expected at once: a short spin, before whoever waits goes to sleep.
#pragma once
#include <chrono>

namespace ingot {

constexpr auto spin_time = std::chrono::microseconds(50);

// Tells the processor that the thread spins.
inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until done() for at most spin_time; whether it was.
template <class Done>
bool spin_until(Done done) {
  const auto end = std::chrono::steady_clock::now() + spin_time;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace ingot
