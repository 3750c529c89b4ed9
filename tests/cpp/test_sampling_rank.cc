// A leader over a rank that samples: steps launched ahead, requests that need the leader, logits that give no token,
// engines that fail with steps in flight.
#undef NDEBUG
#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "runtime/leader.h"
#include "simulation/sampling_rank.h"
#include "small_folder.h"
#include "stub_engine.h"

using namespace ingot;

namespace {

// What the leader asked of a rank that samples.
struct Watched : simulation::SamplingRank {
  Watched(Rank &rank, bool greedy_only) : SamplingRank(rank, [] { return false; }, greedy_only) {}

  void launch(const StepView &step) override {
    const auto now = std::chrono::steady_clock::now();
    if (ended) gaps.push_back(std::chrono::duration<double, std::micro>(now - *ended).count());
    ended.reset();
    for (size_t s = 0; s < step.slots_S.size(); ++s) ++samples[step.samples_S[s]];
    SamplingRank::launch(step);
    ++in_flight;
  }
  StepResults finish() override {
    const StepResults results = SamplingRank::finish();
    --in_flight;
    ended = std::chrono::steady_clock::now();
    return results;
  }

  int in_flight = 0;
  std::map<int32_t, int> samples;  // how often a sequence of a step was nobody's, the rank's, the leader's
  std::vector<double> gaps;        // from the end of a step to the next launch, microseconds
  std::optional<std::chrono::steady_clock::time_point> ended;
};

struct Setting {
  StubEngine stub;
  SmallFolder folder;
  TokenBytes tokens;
  Watched *watched = nullptr;
  std::optional<Ranks> ranks;

  explicit Setting(bool greedy_only = false) {
    next_stub = &stub;
    ranks.emplace(&stub_api, RankOptions{folder.path, 1, "auto"}, [&](Rank &rank) {
      auto made = std::make_unique<Watched>(rank, greedy_only);
      watched = made.get();
      return made;
    });
    ranks->bind(pages_of_groups(ranks->spec(), 100 * bytes_per_page(stub.group), 8, 64), 8);
  }
  LeaderOptions options() const { return LeaderOptions{8, 64, {31}, true, Policy::max_utilization, 1}; }
};

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  int32_t finish = INGOT_RUNNING;
  std::string text;
};

Request request_of(uint64_t id, std::vector<int32_t> prompt, int32_t max_tokens) {
  Request request;
  request.id = id;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  return request;
}

std::map<uint64_t, Outcome> run(Setting &setting, std::vector<Request> requests, LeaderOptions options) {
  Leader leader(*setting.ranks, setting.tokens, options, [] { return 0.0; });
  for (Request &request : requests) leader.add(std::move(request));
  std::map<uint64_t, Outcome> outcomes;
  while (leader.has_work()) {
    leader.step();
    for (Event &event : leader.take_events()) {
      Outcome &outcome = outcomes[event.get().request];
      if (event.get().kind == INGOT_TOKEN) {
        outcome.tokens.push_back(event.get().token);
        outcome.logprobs.push_back(event.get().logprob);
      } else {
        outcome.finish = event.get().finish;
        outcome.text = event.text;
      }
    }
  }
  return outcomes;
}

std::map<uint64_t, Outcome> run(Setting &setting, std::vector<Request> requests) {
  return run(setting, std::move(requests), setting.options());
}

// The rank feeds its own tokens back: every step but the first is launched before the one ahead of it has ended.
void test_steps_are_launched_ahead() {
  Setting setting;
  const auto outcomes = run(setting, {request_of(1, {1, 2, 3}, 6)});
  assert(outcomes.at(1).tokens == (std::vector<int32_t>{4, 5, 6, 7, 8, 9}));
  assert(outcomes.at(1).finish == INGOT_LENGTH);
  assert(setting.watched->samples == (std::map<int32_t, int>{{rank_samples, 6}}));
  assert(setting.watched->ahead() == 5);
}

// Who draws follows from the request, whoever else is in the step; the other one is still the rank's.
void test_requests_that_need_the_leader() {
  std::vector<float> logits(3 * 32), logprobs(2);
  const std::vector<std::pair<const char *, void (*)(Request &, float *)>> cases{
      {"top logprobs", [](Request &r, float *) { r.logprobs = 2; }},
      {"a penalty", [](Request &r, float *) { r.presence_penalty = 0.5f; }},
      {"min_tokens", [](Request &r, float *) { r.min_tokens = 2, r.stop_ids = {30}; }},
      {"several texts", [](Request &r, float *) { r.n = r.best_of = 2; }},
      {"beams", [](Request &r, float *) { r.beam_width = 2; }},
      {"the prompt's logits", [](Request &r, float *to) { r.logits = to; }},
      {"the prompt's logprobs", [](Request &r, float *to) { r.prompt_logprobs = to; }},
  };
  for (const auto &[name, change] : cases) {
    Setting setting;
    Request special = request_of(1, {1, 2, 3}, 5);
    change(special, logits.data());
    const auto outcomes = run(setting, {special, request_of(2, {10}, 5)});
    assert(outcomes.at(1).finish == INGOT_LENGTH);
    assert(outcomes.at(2).tokens == (std::vector<int32_t>{11, 12, 13, 14, 15}));
    if (setting.watched->samples[rank_samples] != 5 || setting.watched->samples[leader_samples] < 5) {
      std::printf("%s: the rank drew %d tokens, the leader %d\n", name, setting.watched->samples[rank_samples],
                  setting.watched->samples[leader_samples]);
      assert(false);
    }
  }
}

// The log-probability of the token alone comes with it, and is the one that the leader would give.
void test_the_tokens_logprob_comes_with_it() {
  std::vector<std::vector<float>> logprobs;
  for (const int32_t asked : {0, 1}) {
    Setting setting;
    Request request = request_of(1, {1}, 4);
    request.logprobs = asked;
    logprobs.push_back(run(setting, {request}).at(1).logprobs);
    assert(setting.watched->samples[asked ? leader_samples : rank_samples] == 4);
  }
  assert(logprobs[0] == logprobs[1] && logprobs[0].size() == 4 && logprobs[0][0] < 0);
}

// Settings by which the rank cannot sample are the leader's.
void test_a_rank_may_refuse_settings() {
  Setting setting(true);
  Request warm = request_of(1, {1}, 3);
  warm.temperature = 0.5f;
  const auto outcomes = run(setting, {warm, request_of(2, {10}, 3)});
  assert(outcomes.at(1).tokens.size() == 3 && outcomes.at(2).tokens == (std::vector<int32_t>{11, 12, 13}));
  assert(setting.watched->samples == (std::map<int32_t, int>{{rank_samples, 3}, {leader_samples, 3}}));
}

// Guesses are checked against logits on the host.
void test_guesses_are_the_leaders() {
  Setting setting;
  LeaderOptions options = setting.options();
  options.draft = [](std::span<const int32_t> tokens, std::vector<int32_t> &drafts) {
    drafts = {(tokens.back() + 1) % 32, 0};
  };
  const auto outcomes = run(setting, {request_of(1, {1}, 6)}, options);
  assert(outcomes.at(1).tokens == (std::vector<int32_t>{2, 3, 4, 5, 6, 7}));
  assert(setting.watched->samples[rank_samples] == 0 && setting.watched->ahead() == 0);
}

// The rank says that a row gives no token: that request fails as it would by the leader, others go on.
void test_logits_that_give_no_token() {
  Setting setting;
  setting.stub.nan_token = 20;
  const auto outcomes = run(setting, {request_of(1, {18}, 10), request_of(2, {1}, 10)});
  assert(outcomes.at(1).finish == INGOT_ERROR && outcomes.at(1).tokens == (std::vector<int32_t>{19, 20}));
  assert(contains(outcomes.at(1).text, "not a number") && contains(outcomes.at(1).text, "for token 3 of the sequence"));
  assert(outcomes.at(2).finish == INGOT_LENGTH && outcomes.at(2).tokens.size() == 10);
}

// A cancel with steps in flight: they are finished, and the slot and pages serve the next request.
void test_a_cancel_in_flight() {
  Setting setting;
  Leader leader(*setting.ranks, setting.tokens, setting.options(), [] { return 0.0; });
  const int64_t free_pages = leader.blocks().free_pages();
  leader.add(request_of(1, {1}, 100));
  for (int i = 0; i < 3; ++i) leader.step();
  leader.cancel(1);
  assert(leader.has_work() && leader.scheduler().in_flight() == 1);  // what was launched must be waited for
  leader.take_events();
  assert(leader.step() && !leader.has_work() && leader.take_events().empty());
  leader.add(request_of(2, {10}, 3));
  std::vector<int32_t> tokens;
  while (leader.has_work()) {
    leader.step();
    for (Event &event : leader.take_events()) {
      if (event.get().kind == INGOT_TOKEN) tokens.push_back(event.get().token);
    }
  }
  assert(tokens == (std::vector<int32_t>{11, 12, 13}) && leader.blocks().free_pages() == free_pages);
}

IngotRequest given(const std::vector<int32_t> &ids, int32_t max_tokens) {
  IngotRequest request{};
  request.size = sizeof request;
  request.ids = ids.data();
  request.n_ids = static_cast<int32_t>(ids.size());
  request.max_tokens = max_tokens;
  request.top_p = 1;
  request.logprobs = -1;
  request.ignore_eos = 1;
  return request;
}

// Polls until one request has ended; its last event.
Outcome collect(Executor &executor) {
  Outcome outcome;
  while (outcome.finish == INGOT_RUNNING) {
    IngotEvent event;
    if (executor.poll(&event, 1, 10) != 1) continue;
    if (event.kind == INGOT_TOKEN) outcome.tokens.push_back(event.token);
    outcome.finish = event.finish;
    outcome.text.assign(event.text, static_cast<size_t>(event.text_bytes));
  }
  return outcome;
}

// The engine fails while a later step is in flight: the request hears it, the next one is refused, all can be closed.
void test_an_engine_that_fails_in_flight() {
  Setting setting;
  setting.stub.fail_at = 4;
  Executor executor(*setting.ranks, setting.tokens, setting.options());
  const std::vector<int32_t> prompt{1};
  executor.submit(given(prompt, 100));
  const Outcome outcome = collect(executor);
  assert(outcome.finish == INGOT_ERROR && contains(outcome.text, "told to fail at step 4"));
  assert(outcome.tokens.size() == 4);
  assert(contains(refusal([&] { executor.submit(given(prompt, 1)); }), "told to fail at step 4"));
}

// An executor that is closed in the midst of a text leaves no step in flight.
void test_closing_waits_for_what_was_launched() {
  Setting setting;
  {
    Executor executor(*setting.ranks, setting.tokens, setting.options());
    const std::vector<int32_t> prompt{1};
    executor.submit(given(prompt, 200));
    IngotEvent event;
    assert(executor.poll(&event, 1, 10) == 1);
  }
  assert(setting.watched->ahead() > 0 && setting.watched->in_flight == 0);
}

// What the host does between the end of a step and the next launch, events and inbox included.
void measure_the_gap() {
  Setting setting;
  {
    Executor executor(*setting.ranks, setting.tokens, setting.options());
    const std::vector<int32_t> prompt{1};
    for (int i = 0; i < 10; ++i) {
      executor.submit(given(prompt, 200));
      assert(collect(executor).tokens.size() == 200);
    }
  }
  std::vector<double> &gaps = setting.watched->gaps;
  std::sort(gaps.begin(), gaps.end());
  std::printf("sampling rank: %.1f us from the end of a step to the next launch, %.1f us in one of ten\n",
              gaps[gaps.size() / 2], gaps[gaps.size() * 9 / 10]);
}

}  // namespace

int main() {
  test_steps_are_launched_ahead();
  test_requests_that_need_the_leader();
  test_the_tokens_logprob_comes_with_it();
  test_a_rank_may_refuse_settings();
  test_guesses_are_the_leaders();
  test_logits_that_give_no_token();
  test_a_cancel_in_flight();
  test_an_engine_that_fails_in_flight();
  test_closing_waits_for_what_was_launched();
  measure_the_gap();
  std::puts("sampling rank: ok");
}
