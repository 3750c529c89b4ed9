// How requests on an accelerator end, whatever happens: the engine "cuda" on a
// device of host memory (host_device.h) under an executor, with requests from
// several threads, cancellations, a device that fails at any op or refuses any
// call, and executors that are closed while steps are in flight. Everybody
// hears how it ended, and all memory is given back.
//
//   test_engine_device_ends FOLDER…      or INGOT_TEST_ENGINES=FOLDER:FOLDER;
//   folders as python -m core.build writes them
#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engines/interpreter.h"
#include "host_device.h"
#include "runtime/executor.h"
#include "runtime/ranks.h"
#include "small_engines.h"
#include "small_folder.h"

using namespace ingot;

namespace {

// An engine under an executor; `device` NULL: engine cpu.
struct Server {
  TokenBytes tokens;
  Ranks ranks;
  std::optional<Executor> executor;

  Server(const std::string &folder, const IngotDeviceApi *device, int32_t lag, int64_t cache_bytes = 0)
      : tokens(TokenBytes::open(folder + "/rank0/tokens.bin")),
        ranks(device ? cuda_engine() : cpu_engine(), options_of(folder, device)) {
    const IngotEngineSpec &spec = ranks.spec();
    ranks.bind(pages_of_groups(spec, cache_bytes, spec.max_sequences, spec.max_tokens), spec.max_sequences);
    executor.emplace(ranks, tokens,
                     LeaderOptions{spec.max_sequences, spec.max_tokens, {7}, true, Policy::max_utilization, lag});
  }

  static RankOptions options_of(const std::string &folder, const IngotDeviceApi *device) {
    RankOptions options{folder + "/rank0", 1};
    options.device = device;
    return options;
  }
};

// What a request asks for, and where its prompt's log-probabilities go.
struct Asked {
  std::vector<int32_t> prompt, top_ids;
  std::vector<float> logprobs, top_logprobs;
  IngotRequest request{};
};

// Request number `kind`: drawn by the device or by the leader (penalties, the
// best log-probabilities, those of the prompt).
Asked make(int32_t kind, int32_t vocab, int32_t max_tokens) {
  std::mt19937 random(static_cast<uint32_t>(kind));
  Asked asked;
  const size_t length = 2 + random() % (kind % 4 == 0 ? 60 : 10);
  for (size_t i = 0; i < length; ++i)
    asked.prompt.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)));
  IngotRequest &request = asked.request;
  request.size = sizeof request;
  request.n_ids = static_cast<int32_t>(length);
  request.max_tokens = max_tokens;
  request.ignore_eos = 1;
  request.top_p = 1;
  request.temperature = kind % 2 ? 0.8f : 0;
  request.seed = static_cast<uint64_t>(kind);
  request.logprobs = kind % 5 == 2 ? 3 : kind % 5 - 1 < 1 ? kind % 5 - 1 : 0;
  if (kind % 5 == 3) request.frequency_penalty = 0.5f;
  if (kind % 5 == 4) {
    request.n_prompt_top = 2;
    asked.logprobs.assign(length - 1, 1);
    asked.top_ids.assign(2 * (length - 1), -1);
    asked.top_logprobs.assign(2 * (length - 1), 1);
  }
  return asked;
}

uint64_t submit(Executor &executor, Asked &asked) {
  asked.request.ids = asked.prompt.data();
  if (!asked.logprobs.empty()) {
    asked.request.prompt_logprobs = asked.logprobs.data();
    asked.request.prompt_top_ids = asked.top_ids.data();
    asked.request.prompt_top_logprobs = asked.top_logprobs.data();
  }
  return executor.submit(asked.request);
}

struct Answer {
  std::vector<int32_t> tokens;
  int32_t finish = INGOT_RUNNING;
  std::string text;  // of the end: the sentence of an error
};

// Polls until `count` requests have ended, which they do within ten seconds
// each.
std::map<uint64_t, Answer> collect(Executor &executor, size_t count) {
  std::map<uint64_t, Answer> answers;
  while (count > 0) {
    IngotEvent events[5];
    const int32_t filled = executor.poll(events, 5, 10);
    assert(filled > 0);
    for (const IngotEvent &event : std::span(events, static_cast<size_t>(filled))) {
      Answer &answer = answers[event.request];
      if (event.kind == INGOT_TOKEN) {
        answer.tokens.push_back(event.token);
        continue;
      }
      answer.finish = event.finish;
      answer.text.assign(event.text ? event.text : "", static_cast<size_t>(event.text_bytes));
      --count;
    }
  }
  return answers;
}

constexpr int32_t requests = 20, length = 24;

// Who is cancelled, after how long no one knows, hears it; everybody else has
// the tokens of the CPU.
void cancellations(const std::string &folder, int32_t lag) {
  std::vector<Asked> alone, together;
  std::map<int32_t, Answer> wanted;
  {
    Server cpu(folder, nullptr, 0);
    for (int32_t kind = 0; kind < requests; ++kind) alone.push_back(make(kind, cpu.ranks.spec().vocab, length));
    for (int32_t kind = 0; kind < requests; ++kind) {
      const uint64_t id = submit(*cpu.executor, alone[static_cast<size_t>(kind)]);
      wanted[kind] = collect(*cpu.executor, 1).at(id);
    }
  }
  int64_t bytes = 0;
  Server probe(folder, nullptr, 0);
  const IngotEngineSpec &spec = probe.ranks.spec();
  for (int32_t g = 0; g < spec.n_groups; ++g) bytes += 12 * bytes_per_page(spec.groups[g]);  // some are preempted
  Server device(folder, &host::api<>, lag, bytes);
  assert(device.ranks.cache().bytes() <= bytes);
  for (int32_t kind = 0; kind < requests; ++kind) together.push_back(make(kind, spec.vocab, length));
  std::map<uint64_t, int32_t> kinds;
  std::vector<uint64_t> cancelled;
  for (int32_t kind = 0; kind < requests; ++kind) {
    const uint64_t id = submit(*device.executor, together[static_cast<size_t>(kind)]);
    kinds[id] = kind;
    if (kind % 3 == 1) cancelled.push_back(id);
  }
  std::thread canceller([&] {
    for (const uint64_t id : cancelled) {
      device.executor->cancel(id);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  const auto answers = collect(*device.executor, requests);
  canceller.join();
  for (const auto &[id, answer] : answers) {
    const int32_t kind = kinds.at(id);
    const Answer &own = wanted.at(kind);
    if (answer.finish == INGOT_CANCELLED) {
      assert(kind % 3 == 1 && answer.tokens.size() <= own.tokens.size());
      assert(std::equal(answer.tokens.begin(), answer.tokens.end(), own.tokens.begin()));
      continue;
    }
    assert(answer.finish == INGOT_LENGTH && answer.tokens == own.tokens);
    const Asked &here = together[static_cast<size_t>(kind)], &there = alone[static_cast<size_t>(kind)];
    assert(here.logprobs == there.logprobs && here.top_ids == there.top_ids && here.top_logprobs == there.top_logprobs);
  }
}

// Everybody ends with the device's own sentence, and who comes later hears it
// too.
void expect_collapse(Server &server, std::vector<Asked> &asked, const char *sentence) {
  size_t admitted = 0;
  std::string refused;
  for (Asked &each : asked) {
    refused = refusal([&] { submit(*server.executor, each); });
    if (!refused.empty()) break;
    ++admitted;
  }
  for (const auto &[id, answer] : collect(*server.executor, admitted))
    assert(answer.finish == INGOT_LENGTH || (answer.finish == INGOT_ERROR && contains(answer.text, sentence)));
  refused = refusal([&] { submit(*server.executor, asked[0]); });
  assert(contains(refused, "takes no requests") && contains(refused, sentence));
}

std::vector<Asked> long_requests(const Server &server) {
  std::vector<Asked> asked;
  for (int32_t kind = 0; kind < 6; ++kind) asked.push_back(make(kind, server.ranks.spec().vocab, 60));
  return asked;
}

// The device stops at an op, early or late.
void a_device_that_fails(const std::string &folder, int32_t lag) {
  for (const int32_t ops : {0, 3, 700, 1500}) {
    Server server(folder, &host::api<>, lag);
    host::watch.fail_in = ops;
    auto asked = long_requests(server);
    expect_collapse(server, asked, "the device was told to fail");
  }
  host::watch.fail_in = -1;
}

// A call is refused: of an op by itself, or in the midst of a capture, which
// must not stay open.
void a_call_that_is_refused(const std::string &folder, int32_t lag) {
  for (const int32_t calls : {0, 5, 50}) {
    Server server(folder, &host::api<>, lag);
    host::watch.refuse_in = calls;
    auto asked = long_requests(server);
    expect_collapse(server, asked, "the device was told to refuse");
    assert(!host::watch.capturing);
  }
  for (const int32_t ops : {1, 20}) {
    Server server(folder, &host::api<>, lag);
    host::watch.refuse_in_capture = ops;
    auto asked = long_requests(server);
    expect_collapse(server, asked, "the device was told to refuse");
    assert(!host::watch.capturing);
  }
  host::watch.refuse_in = host::watch.refuse_in_capture = -1;
}

// Opened where there is too little memory, by any number of bytes: refused, and nothing is left behind.
void little_memory(const std::string &folder) {
  const int64_t before = host::watch.memory;
  int64_t needed = 0;
  {
    Server server(folder, &host::api<>, 0);
    needed = host::watch.bytes;
  }
  for (int64_t memory = 0; memory < needed; memory += needed / 60 + 1) {
    host::watch.memory = memory;
    assert(contains(refusal([&] { Server server(folder, &host::api<>, 0); }), "the device's memory is full"));
    assert(host::watch.blocks == 0 && host::watch.bytes == 0);
  }
  host::watch.memory = before;
}

// Closed while steps are in flight: at once, and after a few tokens.
void closing(const std::string &folder, int32_t lag) {
  for (const int32_t tokens : {0, 1, 7}) {
    Server server(folder, &host::api<>, lag);
    auto asked = long_requests(server);
    for (Asked &each : asked) submit(*server.executor, each);
    IngotEvent event;
    for (int32_t i = 0; i < tokens; ++i) assert(server.executor->poll(&event, 1, 10) == 1);
  }
}

}  // namespace

int main(int argc, char **argv) {
  const std::vector<std::string> folders = small_engines(argc, argv);
  for (const std::string &folder : folders) {
    if (std::filesystem::exists(folder + "/rank1")) continue;  // a device serves one rank
    little_memory(folder);
    for (int32_t lag = 0; lag <= 2; ++lag) {
      cancellations(folder, lag);
      a_device_that_fails(folder, lag);
      a_call_that_is_refused(folder, lag);
      closing(folder, lag);
      assert(host::watch.blocks == 0 && host::watch.bytes == 0);
    }
    std::printf("%s: ok\n", folder.c_str());
  }
  return folders.empty() ? skipped : 0;
}
