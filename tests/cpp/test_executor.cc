// Requests from many threads, cancels, refusals, engines that fail; and what a step costs besides the engine.
#undef NDEBUG
#include <cassert>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>
#include <thread>
#include <vector>

#include "runtime/executor.h"
#include "small_folder.h"
#include "stub_engine.h"

using namespace ingot;

namespace {

// An executor over a stub, with letters for token texts: token i is the letter 'a' + i; 30 and 31 are special.
struct Setting {
  StubEngine stub;
  SmallFolder folder;
  TokenBytes tokens;
  std::optional<Ranks> rank;
  std::optional<Executor> executor;

  explicit Setting(int64_t pages = 100) {
    std::string file = "INGOTTOK" + little_endian(1, 4) + little_endian(32, 4), letters, flags;
    for (int i = 0; i <= 32; ++i) file += little_endian(static_cast<uint64_t>(i), 8);
    for (int i = 0; i < 32; ++i) {
      letters += static_cast<char>('a' + i);
      flags += static_cast<char>(i >= 30);
    }
    folder.write("tokens.bin", file + flags + letters);
    tokens = TokenBytes::open(folder.path + "/tokens.bin");
    next_stub = &stub;
    rank.emplace(&stub_api, RankOptions{folder.path, 1, "auto"});
    rank->bind(pages_of_groups(rank->spec(), pages * bytes_per_page(stub.group), 8, 64), 8);
    executor.emplace(*rank, tokens, LeaderOptions{8, 64, {31}, true});
  }
};

IngotRequest request_of(const std::vector<int32_t> &ids, int32_t max_tokens) {
  IngotRequest request{};
  request.size = sizeof request;
  request.ids = ids.data();
  request.n_ids = static_cast<int32_t>(ids.size());
  request.max_tokens = max_tokens;
  request.top_p = 1;
  request.logprobs = -1;
  return request;
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::string text;
  int32_t finish = INGOT_RUNNING;
  IngotEvent last{};
};

// Polls until `count` requests have ended.
std::map<uint64_t, Outcome> collect(Executor &executor, size_t count) {
  std::map<uint64_t, Outcome> outcomes;
  size_t ended = 0;
  while (ended < count) {
    IngotEvent events[7];
    const int32_t filled = executor.poll(events, 7, 10);
    assert(filled > 0);
    for (int32_t i = 0; i < filled; ++i) {
      Outcome &outcome = outcomes[events[i].request];
      outcome.text.append(events[i].text, static_cast<size_t>(events[i].text_bytes));
      if (events[i].kind == INGOT_TOKEN) {
        outcome.tokens.push_back(events[i].token);
        continue;
      }
      outcome.finish = events[i].finish;
      outcome.last = events[i];
      ++ended;
    }
  }
  return outcomes;
}

Outcome run(Setting &setting, const IngotRequest &request) {
  const uint64_t id = setting.executor->submit(request);
  return collect(*setting.executor, 1).at(id);
}

void test_ends() {
  Setting setting;
  const std::vector<int32_t> prompt{1, 2, 3};
  Outcome outcome = run(setting, request_of(prompt, 4));
  assert(outcome.finish == INGOT_LENGTH && outcome.text == "efgh" &&
         outcome.tokens == (std::vector<int32_t>{4, 5, 6, 7}));
  assert(outcome.last.prompt_tokens == 3 && outcome.last.generated_tokens == 4 &&
         outcome.last.total_s >= outcome.last.first_token_s);

  outcome = run(setting, request_of(prompt, 100));  // 31 is an end token, 30 special: neither is text
  assert(outcome.finish == INGOT_STOP && outcome.tokens.back() == 31 && outcome.tokens.size() == 28 &&
         outcome.text.size() == 26);

  IngotRequest request = request_of(prompt, 100);
  const char *stops[] = {"zzz", "hi"};
  request.stops = stops;
  request.n_stops = 2;
  outcome = run(setting, request);
  assert(outcome.finish == INGOT_STOP && outcome.text == "efg" && outcome.tokens.back() == 8);

  request.min_tokens = 10;
  request.ignore_eos = 1;
  outcome = run(setting, request);  // the first "hi" is passed, the one a vocabulary later ends it
  assert(outcome.finish == INGOT_STOP && outcome.tokens.size() == 37 && outcome.text.substr(0, 6) == "efghij");

  request = request_of(prompt, 100);
  const int32_t stop_ids[] = {9};
  request.stop_ids = stop_ids;
  request.n_stop_ids = 1;
  outcome = run(setting, request);
  assert(outcome.finish == INGOT_STOP && outcome.text == "efghi" && outcome.tokens.back() == 9);

  request = request_of(prompt, INT32_MAX);
  request.ignore_eos = 1;
  outcome = run(setting, request);
  assert(outcome.finish == INGOT_LENGTH && outcome.tokens.size() == 256 - 3);  // max_length
}

// Logits of the whole prompt, also when it takes more rows than a step has.
void test_prompt_logits() {
  Setting setting;
  std::vector<int32_t> prompt(100);
  std::iota(prompt.begin(), prompt.end(), 0);
  for (int32_t &id : prompt) id %= 32;
  for (const int32_t max_tokens : {0, 3}) {
    std::vector<float> logits(100 * 32, -1);
    IngotRequest request = request_of(prompt, max_tokens);
    request.logits = logits.data();
    const Outcome outcome = run(setting, request);
    assert(static_cast<int32_t>(outcome.tokens.size()) == max_tokens);
    for (size_t i = 0; i < logits.size(); ++i)
      assert(logits[i] == (static_cast<int32_t>(i % 32) == (prompt[i / 32] + 1) % 32 ? 5 : 0));
  }
}

void test_prefixes_are_found_again() {
  Setting setting;
  const std::vector<int32_t> prompt(70, 3);
  assert(run(setting, request_of(prompt, 2)).last.cached_tokens == 0);
  assert(run(setting, request_of(prompt, 2)).last.cached_tokens == 64);
}

void test_refusals_name_the_field() {
  Setting setting;
  const std::vector<int32_t> prompt{1};
  const auto refuse = [&](auto &&change) {
    IngotRequest request = request_of(prompt, 5);
    change(request);
    return refusal([&] { setting.executor->submit(request); });
  };
  const char *stop = "", *bad = "\xFF";
  const int32_t wrong[] = {32};
  std::vector<int32_t> long_prompt(256, 1);
  assert(contains(refuse([](IngotRequest &r) { r.temperature = std::nanf(""); }), "temperature"));
  assert(contains(refuse([](IngotRequest &r) { r.temperature = -1; }), "temperature is -1"));
  assert(contains(refuse([](IngotRequest &r) { r.top_p = 0; }), "top_p"));
  assert(contains(refuse([](IngotRequest &r) { r.top_k = -1; }), "top_k"));
  assert(contains(refuse([](IngotRequest &r) { r.max_tokens = -1; }), "max_tokens"));
  assert(contains(refuse([](IngotRequest &r) { r.min_tokens = 6; }), "min_tokens"));
  assert(contains(refuse([](IngotRequest &r) { r.logprobs = 65; }), "logprobs"));
  assert(contains(refuse([](IngotRequest &r) { r.n_stops = 65; }), "stops"));
  assert(contains(refuse([&](IngotRequest &r) { r.stops = &stop, r.n_stops = 1; }), "stops[0]"));
  assert(contains(refuse([&](IngotRequest &r) { r.stops = &bad, r.n_stops = 1; }), "UTF-8"));
  assert(contains(refuse([&](IngotRequest &r) { r.stop_ids = wrong, r.n_stop_ids = 1; }), "stop_ids"));
  assert(contains(refuse([](IngotRequest &r) { r.n_ids = 0; }), "empty"));
  assert(contains(refuse([](IngotRequest &r) { r.ids = nullptr; }), "NULL"));
  assert(contains(refuse([&](IngotRequest &r) { r.ids = wrong; }), "ids[0] is 32"));
  assert(contains(refuse([&](IngotRequest &r) { r.ids = long_prompt.data(), r.n_ids = 256; }), "256 tokens"));
  assert(contains(refuse([](IngotRequest &r) { r.size = 8; }), "size"));
  assert(run(setting, request_of(prompt, 1)).finish == INGOT_LENGTH);
}

// With a cache of a few pages a prompt that could never fit is refused, and a sequence ends where the cache ends.
void test_the_end_of_the_cache() {
  Setting setting(4);  // three pages of 16 tokens besides the null page
  const std::vector<int32_t> long_prompt(48, 1), prompt(40, 1);
  assert(contains(refusal([&] { setting.executor->submit(request_of(long_prompt, 1)); }), "cache_bytes"));
  IngotRequest request = request_of(prompt, 100);
  request.ignore_eos = 1;
  const Outcome outcome = run(setting, request);
  assert(outcome.finish == INGOT_LENGTH && outcome.tokens.size() == 8);
}

// One request's bad logits are its own trouble.
void test_nan_ends_one_request() {
  Setting setting;
  setting.stub.nan_token = 20;
  const std::vector<int32_t> bad{18}, good{1};
  const uint64_t failing = setting.executor->submit(request_of(bad, 10)),
                 going = setting.executor->submit(request_of(good, 10));
  const auto outcomes = collect(*setting.executor, 2);
  assert(outcomes.at(failing).finish == INGOT_ERROR && contains(outcomes.at(failing).text, "not a number"));
  assert(outcomes.at(failing).tokens == (std::vector<int32_t>{19, 20}));
  assert(outcomes.at(going).finish == INGOT_LENGTH && outcomes.at(going).tokens.size() == 10);
}

// An engine that fails ends every request with its sentence; the process lives, later requests hear it, too.
void test_a_failing_engine() {
  Setting setting;
  setting.stub.fail_at = 5;
  const std::vector<int32_t> prompt{1};
  IngotRequest request = request_of(prompt, 200);
  request.ignore_eos = 1;
  size_t submitted = 0;
  refusal([&] {
    for (; submitted < 3; ++submitted) setting.executor->submit(request);
  });
  for (const auto &[id, outcome] : collect(*setting.executor, submitted)) {
    assert(outcome.finish == INGOT_ERROR && contains(outcome.text, "told to fail at step 5"));
  }
  assert(contains(refusal([&] { setting.executor->submit(request); }), "told to fail at step 5"));
}

// Threads submit and cancel while one polls; every request ends once, and all pages come back.
void test_many_threads() {
  Setting setting(40);
  const int64_t free_pages = setting.executor->statistics().free_pages;
  constexpr int threads = 4, each = 50;
  std::vector<std::thread> workers;
  for (int worker = 0; worker < threads; ++worker) {
    workers.emplace_back([&setting, worker] {
      for (int i = 0; i < each; ++i) {
        const std::vector<int32_t> prompt(static_cast<size_t>(1 + (worker * 37 + i * 11) % 90), worker);
        const uint64_t id = setting.executor->submit(request_of(prompt, 1 + i % 20));
        if (i % 3 == 0) setting.executor->cancel(id);
      }
    });
  }
  const auto outcomes = collect(*setting.executor, threads * each);
  for (std::thread &worker : workers) worker.join();
  assert(outcomes.size() == threads * each);
  const Statistics statistics = setting.executor->statistics();
  assert(statistics.running == 0 && statistics.waiting == 0 && statistics.free_pages == free_pages);
  setting.executor->cancel(1);
  setting.executor->cancel(999999);
  const std::vector<int32_t> prompt(10, 1);
  for (int i = 0; i < 5; ++i) setting.executor->submit(request_of(prompt, 200));  // and closing with requests under way
}

void measure_bookkeeping() {
  Setting setting;
  setting.executor.reset();
  StubEngine stub;
  stub.max_sequences = 256;
  stub.max_tokens = 512;
  stub.max_length = 2048;
  next_stub = &stub;
  Ranks rank(&stub_api, RankOptions{setting.folder.path, 1, "auto"});
  rank.bind(pages_of_groups(rank.spec(), int64_t{40000} * 64, 256, 512), 256);
  Leader leader(rank, setting.tokens, LeaderOptions{256, 512, {}, true}, [] { return 0.0; });
  for (uint64_t id = 1; id <= 256; ++id) {
    Request request;
    request.id = id;
    request.prompt.assign(100, static_cast<int32_t>(id % 31));
    request.max_tokens = 1000;
    leader.add(std::move(request));
  }
  for (int i = 0; i < 100; ++i) leader.step();
  leader.take_events();
  const auto start = std::chrono::steady_clock::now();
  constexpr int steps = 500;
  for (int i = 0; i < steps; ++i) {
    leader.step();
    leader.take_events();
  }
  const double us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / steps;
  assert(leader.statistics().running == 256);
  std::printf("executor: %.1f us a step of 256 sequences, engine stub and sampling from 32 tokens included\n", us);
}

}  // namespace

int main() {
  test_ends();
  test_prompt_logits();
  test_prefixes_are_found_again();
  test_refusals_name_the_field();
  test_the_end_of_the_cache();
  test_nan_ends_one_request();
  test_a_failing_engine();
  test_many_threads();
  measure_bookkeeping();
  std::puts("executor: ok");
}
