// The engine "cuda" on a device of host memory (host_device.h), against engine "cpu" on the same folder: whatever is
// asked, at every lag, in graphs or op by op, with pages short and steps padded, the events are the same to the bit.
// The device runs on a thread of its own, and nobody else can touch its memory.
//
//   test_engine_on_device FOLDER…      or INGOT_TEST_ENGINES=FOLDER:FOLDER; folders as python -m core.build writes them
#undef NDEBUG
#include <algorithm>
#include <cassert>
#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engines/interpreter.h"
#include "host_device.h"
#include "runtime/leader.h"
#include "runtime/ranks.h"
#include "small_engines.h"
#include "small_folder.h"

using namespace ingot;

namespace {

// How the steps of an engine are run.
struct Way {
  const IngotDeviceApi *device = nullptr;  // NULL: engine cpu
  int32_t lag = 0;
  bool graphs = true, profile = false;
  std::string kernels = "auto";
  int32_t pages = 0;  // of each group; 0: as many as may be wanted
};

struct Opened {
  TokenBytes tokens;
  Ranks ranks;
  LeaderOptions options;

  Opened(const std::string &folder, const Way &way)
      : tokens(TokenBytes::open(folder + "/rank0/tokens.bin")),
        ranks(way.device ? cuda_engine() : cpu_engine(), options_of(folder, way)) {
    const IngotEngineSpec &spec = ranks.spec();
    options = LeaderOptions{spec.max_sequences, spec.max_tokens, {7}, true, Policy::max_utilization, way.lag};
    std::vector<int32_t> pages = pages_of_groups(spec, 0, spec.max_sequences, spec.max_tokens);
    if (way.pages) pages.assign(pages.size(), way.pages);
    ranks.bind(pages, spec.max_sequences);
  }

  static RankOptions options_of(const std::string &folder, const Way &way) {
    RankOptions options{folder + "/rank0", 1, way.kernels};
    options.device = way.device;
    options.graphs = way.graphs;
    options.profile = way.profile;
    return options;
  }
};

// Request number `kind` of every sort that the leader treats in a way of its own.
Request make(int32_t kind, const Opened &opened) {
  std::mt19937 random(static_cast<uint32_t>(kind));
  const auto number = [&](int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random() % static_cast<uint32_t>(high - low + 1));
  };
  Request request;
  request.id = static_cast<uint64_t>(kind) + 1;
  const int32_t length = kind % 5 == 0 ? number(40, 70) : number(1, 12), width = opened.ranks.embedding_width();
  if (width && kind % 3 == 1) {
    request.prompt.assign(static_cast<size_t>(length), embedded_token);
    std::normal_distribution<float> normal;
    for (int32_t i = 0; i < length * width; ++i) request.embeddings.push_back(normal(random));
  } else {
    for (int32_t i = 0; i < length; ++i) request.prompt.push_back(number(0, opened.ranks.spec().vocab - 1));
  }
  request.max_tokens = number(1, 24);
  request.ignore_eos = kind % 2 == 0;
  request.logprobs = std::max(kind % 4 - 2, -1);
  request.priority = kind % 3 == 0;
  request.seed = static_cast<uint64_t>(kind) * 77;
  if (kind % 3) {
    request.temperature = 0.9f;
    request.top_k = kind % 4 == 1 ? 20 : 0;
    request.top_p = kind % 4 == 2 ? 0.8f : 1;
    request.min_p = kind % 4 == 3 ? 0.05f : 0;
  }
  if (kind % 8 == 4) request.repetition_penalty = 1.4f;
  if (kind % 8 == 5) request.n = request.best_of = 2;
  if (kind % 8 == 6) {
    request.beam_width = 2;
    request.temperature = 0;
  }
  return request;
}

// All that is told of a request, by its texts.
struct Answer {
  std::map<int32_t, std::vector<std::pair<int32_t, float>>> tokens;  // with their log-probabilities
  std::map<int32_t, int32_t> ends;                                   // why
  std::map<int32_t, std::string> texts;
  std::vector<float> logits, hidden;
  bool operator==(const Answer &) const = default;
};

constexpr int32_t requests = 24;

std::map<uint64_t, Answer> run(Opened &opened, SchedulerCounts *counts = nullptr) {
  Leader leader(opened.ranks, opened.tokens, opened.options, [] { return 0.0; });
  std::map<uint64_t, Answer> answers;
  for (int32_t kind = 0; kind < requests; ++kind) {
    Request request = make(kind, opened);
    Answer &answer = answers[request.id];
    if (kind % 8 == 7) {
      answer.logits.resize(request.prompt.size() * static_cast<size_t>(opened.ranks.spec().vocab), -1e30f);
      request.logits = answer.logits.data();
      answer.hidden.resize(request.prompt.size() * static_cast<size_t>(opened.ranks.hidden_width()), -1e30f);
      if (opened.ranks.hidden_width()) request.hidden = answer.hidden.data();
    }
    leader.add(std::move(request));
  }
  const int64_t free_pages = leader.blocks().free_pages();
  while (leader.has_work()) {
    leader.step();
    for (Event &event : leader.take_events()) {
      const IngotEvent fields = event.get();
      Answer &answer = answers[fields.request];
      if (fields.kind == INGOT_TOKEN)
        answer.tokens[fields.index].emplace_back(fields.token, fields.logprob);
      else
        answer.ends[fields.index] = fields.finish;
      answer.texts[fields.index].append(fields.text ? fields.text : "", static_cast<size_t>(fields.text_bytes));
    }
  }
  assert(leader.blocks().free_pages() == free_pages);
  if (counts) *counts = leader.statistics().counts;
  return answers;
}

void compare(const std::map<uint64_t, Answer> &found, const std::map<uint64_t, Answer> &wanted, const char *what) {
  assert(found.size() == wanted.size());
  for (const auto &[id, answer] : wanted) {
    const Answer &other = found.at(id);
    if (other == answer) continue;
    std::fprintf(stderr, "%s: request %llu (kind %llu) differs:\n", what, static_cast<unsigned long long>(id),
                 static_cast<unsigned long long>(id - 1));
    for (const Answer *each : {&answer, &other}) {
      for (const auto &[text, tokens] : each->tokens) {
        std::fprintf(stderr, " text %d, which ends by %d:", text, each->ends.contains(text) ? each->ends.at(text) : -1);
        for (const auto &[token, logprob] : tokens)
          std::fprintf(stderr, " %d(%g)", token, static_cast<double>(logprob));
      }
      std::fprintf(stderr, " logits %s\n", each->logits == answer.logits ? "equal" : "differ");
    }
    std::abort();
  }
}

void on_device(const std::string &folder) {
  Opened cpu(folder, {});
  const auto wanted = run(cpu);
  const int32_t few = 2 + 96 / cpu.ranks.spec().groups[0].page_tokens;  // a little more than the longest text
  for (int32_t lag = 0; lag <= 2; ++lag) {
    for (const bool graphs : {true, false}) {
      const int graphs_before = host::watch.launches;
      Opened device(folder, {&host::api<>, lag, graphs});
      assert(device.ranks.samples());
      compare(run(device), wanted, graphs ? "in graphs" : "op by op");
      assert((host::watch.launches > graphs_before) == graphs);
      compare(run(device), wanted, "again, with prefixes in the cache");
    }
    SchedulerCounts counts;
    const int copies = host::watch.copies;
    Opened tight(folder, {&host::api<>, lag, true, false, "auto", few});
    compare(run(tight, &counts), wanted, "with few pages");
    const bool whole = cpu.ranks.spec().groups[0].window == 0;  // a window gives pages back by itself
    if ((whole && counts.preemptions == 0) || counts.forks == 0 || host::watch.copies == copies) {
      std::fprintf(stderr, "%s at lag %d: %llu preemptions, %llu forks, %d page copies\n", folder.c_str(), lag,
                   static_cast<unsigned long long>(counts.preemptions), static_cast<unsigned long long>(counts.forks),
                   host::watch.copies - copies);
      std::abort();
    }
  }
  assert(host::watch.blocks == 0 && host::watch.bytes == 0);
}

// Every op that computes has its time, and the results are the same.
void profiled(const std::string &folder) {
  Opened cpu(folder, {}), device(folder, {&host::api<>, 1, true, true});
  compare(run(device), run(cpu), "profiled");
  const std::vector<IngotOpTime> times = device.ranks.rank(0).times();
  const auto timed = std::count_if(times.begin(), times.end(), [](const IngotOpTime &time) {
    return time.calls > 0 && time.seconds > 0 && time.shortest <= time.seconds;
  });
  const auto views = std::count_if(times.begin(), times.end(), [](const IngotOpTime &time) { return time.calls == 0; });
  assert(timed > 10 && timed > views && timed + views == static_cast<ptrdiff_t>(times.size()));
}

// Only kernels are taken whose results do not depend on neighbours, where that is asked for.
void batch_invariant(const std::string &folder) {
  Opened cpu(folder, {}), device(folder, {&host::api<true>, 1, true, false, "batch_invariant"});
  compare(run(device), run(cpu), "batch invariant");
}

void refusals(const std::string &folder) {
  const auto opening = [&](const Way &way) { return refusal([&] { Opened opened(folder, way); }); };
  host::watch.memory = 4096;
  assert(contains(opening({&host::api<>}), "the device's memory is full"));
  host::watch.memory = int64_t{1} << 30;
  const std::string bare = refusal([&] { Rank(cuda_engine(), Opened::options_of(folder, {})); });
  assert(contains(bare, "opened without a device"));
  assert(host::watch.blocks == 0);
}

// The device fails in the midst of steps: the sentence is its own, and all can be closed.
void a_device_that_fails(const std::string &folder) {
  for (const int after : {1, 200, 1000}) {
    Opened device(folder, {&host::api<>, 2});
    host::watch.fail_in = after;
    assert(contains(refusal([&] { run(device); }), "the device was told to fail"));
  }
  host::watch.fail_in = -1;
  assert(host::watch.blocks == 0);
}

}  // namespace

int main(int argc, char **argv) {
  const std::vector<std::string> folders = small_engines(argc, argv);
  bool first = true;
  for (const std::string &folder : folders) {
    if (std::filesystem::exists(folder + "/rank1")) continue;  // a device serves one rank
    on_device(folder);
    if (std::exchange(first, false)) {
      profiled(folder);
      batch_invariant(folder);
      refusals(folder);
      a_device_that_fails(folder);
    }
    std::printf("%s: ok\n", folder.c_str());
  }
  return folders.empty() ? skipped : 0;
}
