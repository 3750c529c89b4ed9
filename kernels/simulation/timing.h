// What a step costs the leader: 256 sequences that decode, on the fake engine; and how soon after a step has ended the
// next one is launched where the rank samples.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "engines/fake.h"
#include "runtime/leader.h"
#include "runtime/ranks.h"
#include "simulation/sampling_rank.h"
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

// A rank that samples, with a watch on what it does, and one on what the leader does from a step's end to a launch.
class WatchedRank : public SamplingRank {
 public:
  explicit WatchedRank(Rank &rank) : SamplingRank(rank, [] { return true; }, false) {}

  void launch(const StepView &step) override {
    const auto start = Clock::now(), before = start - engine_time;
    if (finished_ != Clock::time_point()) gaps.push_back(microseconds(start - finished_));
    finished_ = {};
    SamplingRank::launch(step);
    engine_time = Clock::now() - before;  // what the engine itself counted within is part of it
  }
  StepResults finish() override {
    const auto start = Clock::now(), before = start - engine_time;
    const StepResults results = SamplingRank::finish();
    finished_ = Clock::now();
    engine_time = finished_ - before;
    return results;
  }

  std::vector<double> gaps;  // microseconds

 private:
  Clock::time_point finished_{};
};

struct Timing {
  double median, mean;  // microseconds of a step
  double gap;           // median of those from a step's end to the next launch; 0 where the rank does not sample
};

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

inline Timing time_steps(int32_t sequences, int32_t lag, bool samples) {
  constexpr int32_t steps = 400;
  const World world{512, sequences, sequences, 2048, 32, {{1 + 40'000, 16, 0}}, true, Policy::max_utilization, lag, 0};
  const Folder folder(world.plan());
  IngotEngineApi api = *fake_engine();
  api.enqueue = timed_enqueue;
  WatchedRank *watched = nullptr;
  const auto watch = [&](Rank &rank) {
    auto made = std::make_unique<WatchedRank>(rank);
    watched = made.get();
    return made;
  };
  Ranks ranks(&api, RankOptions{folder.path, 1, "auto"}, samples ? Ranks::Wrap(watch) : Ranks::Wrap());
  ranks.bind(world.pages(), sequences);
  const TokenBytes no_text;
  Leader leader(ranks, no_text, LeaderOptions{sequences, world.max_tokens, {}, true, world.policy, lag},
                [] { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); });
  for (uint64_t id = 1; id <= static_cast<uint64_t>(sequences); ++id) {
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
  return {median(times), total / steps, watched ? median(watched->gaps) : 0};
}

inline int print_timing() {
  for (int32_t lag = 0; lag <= most_lag; ++lag) {
    const Timing timing = time_steps(256, lag, false);
    std::printf(
        "lag %d: median %.1f us, mean %.1f us a step of 256 sequences: scheduling, pages, message, step fields, "
        "sampling from 32 tokens, events\n",
        lag, timing.median, timing.mean);
  }
  for (const int32_t sequences : {1, 64, 256}) {
    for (int32_t lag = 1; lag <= most_lag; ++lag) {
      const Timing timing = time_steps(sequences, lag, true);
      std::printf(
          "the rank samples, lag %d: median %.1f us, mean %.1f us a step of %d sequences: scheduling, pages, message, "
          "events; of these %.1f us from a step's end to the next launch\n",
          lag, timing.median, timing.mean, sequences, timing.gap);
    }
  }
  return 0;
}

}  // namespace ingot::simulation
