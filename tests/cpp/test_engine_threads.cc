// A real engine under many threads: requests of every kind, submitted and cancelled from several threads at once while
// one polls and one reads the statistics. Who is not cancelled gets the tokens that he gets alone.
//
//   test_engine_threads FOLDER…      or INGOT_TEST_ENGINES=FOLDER:FOLDER; folders as python -m core.build writes them
//
// Under a sanitizer this is what takes interpreter, kernels, thread pool and executor through everything that a server
// does with them.
#undef NDEBUG
#include <atomic>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "files/json.h"
#include "ingot.h"
#include "small_engines.h"

using namespace ingot;

namespace {

constexpr int32_t requests_per_thread = 16, submitters = 3;

struct Asked {
  std::vector<int32_t> prompt, stop_ids;
  std::vector<float> logits, prompt_logprobs;
  IngotRequest request{};
};

// Request number `kind`: long and short prompts, greedy and drawn, with penalties, bad words, stops and logits.
Asked make(int32_t kind, int32_t vocab) {
  static constexpr const char *stops[] = {"zz", "a"};
  static constexpr int32_t bad_words[] = {3, 5, 7}, bad_lengths[] = {1, 2};
  static constexpr int32_t bias_ids[] = {1, 9};
  static constexpr float bias_values[] = {2.f, -3.f};
  std::mt19937 random(static_cast<uint32_t>(kind));
  Asked asked;
  const size_t length = 1 + random() % (kind % 4 == 0 ? 70 : 12);
  for (size_t i = 0; i < length; ++i)
    asked.prompt.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
  IngotRequest &request = asked.request;
  request.size = sizeof request;
  request.n_ids = static_cast<int32_t>(length);
  request.max_tokens = kind % 7 == 6 ? 0 : 2 + static_cast<int32_t>(random() % 24);
  request.temperature = kind % 2 ? 0.9f : 0.f;
  request.top_p = kind % 3 ? 1.f : 0.9f;
  request.top_k = kind % 5 == 1 ? 20 : 0;
  request.seed = static_cast<uint64_t>(kind);
  request.logprobs = kind % 4 - 1;
  request.priority = kind % 3;
  request.ignore_eos = kind % 2;
  if (kind % 5 == 2) {
    request.repetition_penalty = 1.3f;
    request.presence_penalty = 0.5f;
    request.frequency_penalty = 0.25f;
    request.no_repeat_ngram_size = 2;
    request.min_p = 0.01f;
  }
  if (kind % 5 == 3) {
    request.n_bad_words = 2;
    request.bad_words = bad_words;
    request.bad_word_lengths = bad_lengths;
    request.n_bias = 2;
    request.bias_ids = bias_ids;
    request.bias_values = bias_values;
    request.min_tokens = std::min(2, request.max_tokens);
  }
  if (kind % 5 == 4) {
    request.stops = stops;
    request.n_stops = 2;
    asked.stop_ids = {11, 12};
    request.n_stop_ids = 2;
  }
  if (kind % 7 == 6) {
    asked.logits.resize(length * static_cast<size_t>(vocab), -1e30f);
    asked.prompt_logprobs.resize(length, 1.f);
  }
  return asked;
}

// Gives the request its pointers, which must not move before its end.
uint64_t submit(IngotEngine *engine, Asked &asked) {
  asked.request.ids = asked.prompt.data();
  asked.request.stop_ids = asked.stop_ids.data();
  if (!asked.logits.empty()) asked.request.logits = asked.logits.data();
  if (!asked.prompt_logprobs.empty() && asked.prompt.size() > 1)
    asked.request.prompt_logprobs = asked.prompt_logprobs.data();
  uint64_t id = 0;
  if (ingot_submit(engine, &asked.request, &id) != INGOT_OK) {
    std::fprintf(stderr, "%s\n", ingot_last_error());
    std::abort();
  }
  return id;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::string text;
  int32_t finish = 0;
};

// Takes what there is within `timeout` seconds; how many requests ended.
int32_t take(IngotEngine *engine, double timeout, std::map<uint64_t, Answer> &answers) {
  IngotEvent events[16];
  const int32_t count = ingot_poll(engine, events, 16, timeout);
  assert(count >= 0);
  int32_t ended = 0;
  for (int32_t i = 0; i < count; ++i) {
    Answer &answer = answers[events[i].request];
    answer.text.append(events[i].text ? events[i].text : "", static_cast<size_t>(events[i].text_bytes));
    if (events[i].kind == INGOT_TOKEN) answer.tokens.push_back(events[i].token);
    if (events[i].kind == INGOT_FINISH) {
      answer.finish = events[i].finish;
      ++ended;
    }
  }
  return ended;
}

Json facts_of(char *text) {
  assert(text);
  Json json = Json::parse(text);
  ingot_free(text);
  return json;
}

IngotEngine *open(const char *folder, const char *kernels, int32_t threads, int64_t cache_bytes) {
  IngotOptions options{};
  options.size = sizeof options;
  options.threads = threads;
  options.kernels = kernels;
  options.cache_bytes = cache_bytes;
  options.verify_weights = 1;
  IngotEngine *engine = nullptr;
  if (ingot_open(folder, &options, &engine) != INGOT_OK) {
    std::fprintf(stderr, "%s\n", ingot_last_error());
    std::exit(1);
  }
  return engine;
}

std::vector<Answer> alone(const char *folder, const char *kernels) {
  IngotEngine *engine = open(folder, kernels, 1, 0);
  const auto vocab = static_cast<int32_t>(facts_of(ingot_describe(engine)).at("vocab").as_int());
  std::vector<Answer> answers;
  for (int32_t kind = 0; kind < requests_per_thread; ++kind) {
    Asked asked = make(kind, vocab);
    const uint64_t id = submit(engine, asked);
    std::map<uint64_t, Answer> got;
    while (take(engine, 10, got) == 0) {
    }
    assert(got[id].finish == INGOT_STOP || got[id].finish == INGOT_LENGTH);
    for (const float logit : asked.logits) assert(logit > -1e29f);
    answers.push_back(got[id]);
  }
  ingot_close(engine);
  return answers;
}

// The smallest memory that the engine accepts plus a half of it, so that sequences are preempted.
int64_t tight_cache(const char *folder) {
  IngotEngine *engine = open(folder, "auto", 1, 0);
  const int64_t whole = facts_of(ingot_describe(engine)).at("memory").at("cache").as_int();
  ingot_close(engine);
  return whole / 2;
}

void together(const char *folder, const char *kernels, const std::vector<Answer> &expected) {
  IngotEngine *engine = open(folder, kernels, 3, tight_cache(folder));
  const auto vocab = static_cast<int32_t>(facts_of(ingot_describe(engine)).at("vocab").as_int());
  std::mutex mutex;  // of what the submitters leave for the end
  std::map<uint64_t, int32_t> kinds;
  std::map<uint64_t, bool> cancelled;
  std::vector<std::vector<Asked>> asked(submitters);
  std::vector<std::thread> threads;
  for (int32_t thread = 0; thread < submitters; ++thread) {
    asked[static_cast<size_t>(thread)].reserve(requests_per_thread);
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<uint32_t>(thread));
      for (int32_t kind = 0; kind < requests_per_thread; ++kind) {
        auto &mine = asked[static_cast<size_t>(thread)];
        mine.push_back(make(kind, vocab));
        const uint64_t id = submit(engine, mine.back());
        const bool cancels = random() % 3 == 0;
        {
          const std::lock_guard lock(mutex);
          kinds[id] = kind;
          cancelled[id] = cancels;
        }
        if (random() % 2) std::this_thread::sleep_for(std::chrono::milliseconds(random() % 4));
        if (cancels) assert(ingot_cancel(engine, id) == INGOT_OK);
      }
    });
  }
  std::atomic<bool> watching{true};
  std::thread watcher([&] {
    while (watching) {
      facts_of(ingot_statistics(engine));
      facts_of(ingot_describe(engine));
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  std::map<uint64_t, Answer> answers;
  for (int32_t ended = 0; ended < submitters * requests_per_thread;) ended += take(engine, 10, answers);
  for (std::thread &thread : threads) thread.join();
  watching = false;
  watcher.join();
  int32_t whole = 0;
  for (const auto &[id, kind] : kinds) {
    const Answer &answer = answers[id], &wanted = expected[static_cast<size_t>(kind)];
    if (answer.finish == INGOT_CANCELLED) {
      assert(cancelled[id]);
      continue;
    }
    assert(answer.finish == wanted.finish && answer.tokens == wanted.tokens && answer.text == wanted.text);
    ++whole;
  }
  assert(whole > 0);
  // Closing with requests in flight ends them.
  Asked last = make(0, vocab);
  submit(engine, last);
  ingot_close(engine);
}

void run(const char *folder) {
  for (const char *kernels : {"auto", "avx2", "portable", "naive"}) together(folder, kernels, alone(folder, kernels));
  std::printf("%s: ok\n", folder);
}

}  // namespace

int main(int argc, char **argv) {
  const std::vector<std::string> folders = small_engines(argc, argv);
  for (const std::string &folder : folders) run(folder.c_str());
  return folders.empty() ? skipped : 0;
}
