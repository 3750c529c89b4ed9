// What a step costs besides the engine: 256 sequences that decode, on the fake engine.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "engines/fake.h"
#include "runtime/leader.h"
#include "runtime/ranks.h"
#include "simulation/world.h"

namespace ingot::simulation {

using Clock = std::chrono::steady_clock;

inline double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

// The fake engine, with a watch on its enqueue(). The interface passes no objects, so the watch is the program's.
inline Clock::duration engine_time{};
inline int timed_enqueue(void *self, const IngotStep *step, void *stream, IngotTensor *outputs) {
  const auto start = Clock::now();
  const int status = fake_engine()->enqueue(self, step, stream, outputs);
  engine_time += Clock::now() - start;
  return status;
}

struct Timing {
  double median, mean;  // microseconds of a step
};

inline Timing time_steps(int32_t lag) {
  constexpr int32_t sequences = 256, steps = 400;
  const World world{512, sequences, sequences, 2048, 32, {{1 + 40'000, 16, 0}}, true, Policy::max_utilization, lag, 0};
  const Folder folder(world.plan());
  IngotEngineApi api = *fake_engine();
  api.enqueue = timed_enqueue;
  Ranks ranks(&api, RankOptions{folder.path, 1, "auto"});
  ranks.bind(world.pages(), sequences);
  const TokenBytes no_text;
  Leader leader(ranks, no_text, LeaderOptions{sequences, world.max_tokens, {}, true, world.policy, lag},
                [] { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); });
  for (uint64_t id = 1; id <= sequences; ++id) {
    Request request;
    request.id = id;
    request.prompt.assign(20, static_cast<int32_t>(id % 31));
    request.prompt[0] = static_cast<int32_t>(id / 31);
    request.max_tokens = 1000;
    leader.add(std::move(request));
  }
  for (int32_t i = 0; i < 50; ++i) leader.step();
  leader.take_events();
  std::vector<double> times;
  double total = 0;
  for (int32_t i = 0; i < steps; ++i) {
    engine_time = {};
    const auto start = Clock::now();
    leader.step();
    leader.take_events();
    times.push_back(microseconds(Clock::now() - start - engine_time));
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + steps / 2, times.end());
  return {times[steps / 2], total / steps};
}

inline int print_timing() {
  for (int32_t lag = 0; lag <= most_lag; ++lag) {
    const Timing timing = time_steps(lag);
    std::printf(
        "lag %d: median %.1f us, mean %.1f us a step of 256 sequences: scheduling, pages, message, step fields, "
        "sampling from 32 tokens, events\n",
        lag, timing.median, timing.mean);
  }
  return 0;
}

}  // namespace ingot::simulation
