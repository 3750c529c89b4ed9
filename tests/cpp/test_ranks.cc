// Several ranks as one: all replay each step, tokens come back to all, and one
// that fails ends them all with one sentence.
#undef NDEBUG
#include <atomic>
#include <cassert>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ingot_comm.h"
#include "runtime/executor.h"
#include "runtime/ranks.h"
#include "small_folder.h"
#include "stub_engine.h"

using namespace ingot;

namespace {

// What a test tells the engines that the interface opens for it.
struct Script {
  int failing_rank = -1,
      failing_step =
          0; // fails there, after the first of the step's two meetings
  int closed_rank = -1;     // cannot be opened
  int32_t longer_rank = -1; // serves other sequences than the rest
  std::atomic<int> open{0};
};
Script *script = nullptr;

// A stub whose ranks must agree on the ids of every step: the token after t is
// the mean of all ranks' t, and 1.
struct MeetingEngine {
  StubEngine stub;
  int steps = 0;
};

MeetingEngine &engine(void *self) {
  return *static_cast<MeetingEngine *>(self);
}

int open_meeting(const IngotEngineOptions *options, void **self) {
  if (options->ctx->rank == script->closed_rank)
    return options->ctx->host->error(options->ctx, "its folder is empty"),
           INGOT_FOLDER;
  auto *made = new MeetingEngine;
  made->stub.ctx = options->ctx;
  if (options->ctx->rank == script->longer_rank)
    made->stub.max_length = 512;
  prepare_spec(made->stub);
  ++script->open;
  *self = made;
  return 0;
}

const IngotEngineSpec *spec_meeting(void *self) {
  return &engine(self).stub.spec;
}

int enqueue_meeting(void *self, const IngotStep *step, void *,
                    IngotTensor *outputs) {
  MeetingEngine &own = engine(self);
  IngotCtx *ctx = own.stub.ctx;
  auto *comm = static_cast<IngotComm *>(ctx->comm);
  const auto *ids_T = static_cast<const int32_t *>(step->fields[0].data);
  std::vector<int32_t> sums(ids_T, ids_T + step->T);
  const auto count = static_cast<size_t>(step->T);
  if (comm->all_reduce(comm, sums.data(), sums.data(), count, INGOT_I32,
                       INGOT_SUM, nullptr))
    return ctx->host->error(ctx, "%s", comm->last_error(comm)), INGOT_FAILED;
  if (ctx->rank == script->failing_rank && own.steps == script->failing_step)
    return ctx->host->error(ctx, "it lost its memory at step %d", own.steps),
           INGOT_MACHINE;
  if (comm->barrier(comm, nullptr))
    return ctx->host->error(ctx, "%s", comm->last_error(comm)), INGOT_FAILED;
  ++own.steps;
  StubEngine &stub = own.stub;
  std::fill_n(stub.logits.begin(),
              static_cast<size_t>(step->N) * static_cast<size_t>(stub.vocab),
              0.f);
  for (int32_t n = 0; n < step->N; ++n) {
    const int32_t t = static_cast<const int32_t *>(step->fields[1].data)[n];
    stub.logits[static_cast<size_t>(
        n * stub.vocab +
        (sums[static_cast<size_t>(t)] / ctx->ranks + 1) % stub.vocab)] = 5;
  }
  outputs[0] = {
      stub.logits.data(), {step->N, stub.vocab}, {stub.vocab, 1}, INGOT_F32, 2};
  return 0;
}

void close_meeting(void *self) {
  delete &engine(self);
  --script->open;
}

constexpr IngotEngineApi api = {
    sizeof(IngotEngineApi), INGOT_ENGINE_ABI, "meeting",
    open_meeting,           spec_meeting,     bind_stub,
    prepare_stub,           enqueue_meeting,  refit_stub,
    close_meeting};

// An executor over `count` ranks.
struct Setting {
  Script own;
  TokenBytes tokens;
  std::optional<Ranks> ranks;
  std::optional<Executor> executor;

  void start(size_t count) {
    script = &own;
    ranks.emplace(&api, std::vector<RankOptions>(count));
    ranks->bind(pages_of_groups(ranks->spec(), 0, 8, 64, ranks->size()), 8);
    executor.emplace(*ranks, tokens, LeaderOptions{8, 64, {31}, true});
  }
};

struct Outcome {
  std::vector<int32_t> tokens;
  int32_t finish = INGOT_RUNNING;
  std::string text;
};

Outcome run(Executor &executor, const std::vector<int32_t> &ids,
            int32_t max_tokens) {
  IngotRequest request{};
  request.size = sizeof request;
  request.ids = ids.data();
  request.n_ids = static_cast<int32_t>(ids.size());
  request.max_tokens = max_tokens;
  request.top_p = 1;
  request.logprobs = -1;
  executor.submit(request);
  Outcome outcome;
  while (outcome.finish == INGOT_RUNNING) {
    IngotEvent event;
    assert(executor.poll(&event, 1, 10) == 1);
    if (event.kind == INGOT_TOKEN) {
      outcome.tokens.push_back(event.token);
    } else {
      outcome.finish = event.finish;
      outcome.text.assign(event.text, static_cast<size_t>(event.text_bytes));
    }
  }
  return outcome;
}

// Ids that a message leaves to the slots are the same everywhere: else their
// mean would be another.
void test_tokens_come_back_to_every_rank() {
  for (const size_t count : {2, 3, 5}) {
    Setting setting;
    setting.start(count);
    for (int round = 0; round < 3; ++round) {
      const Outcome outcome = run(*setting.executor, {1, 2, 3 + round}, 6);
      assert(outcome.finish == INGOT_LENGTH && outcome.tokens.size() == 6);
      for (int i = 0; i < 6; ++i)
        assert(outcome.tokens[static_cast<size_t>(i)] == 4 + round + i);
    }
    setting.executor.reset();
    setting.ranks.reset();
    assert(setting.own.open == 0);
  }
}

// Whichever rank fails, with the others waiting for it: every request hears its
// sentence, and no more are taken.
void test_a_failing_rank_ends_the_engine() {
  for (const int failing : {0, 1, 2}) {
    for (const int step : {0, 3}) {
      Setting setting;
      setting.own.failing_rank = failing;
      setting.own.failing_step = step;
      setting.start(3);
      const Outcome outcome = run(*setting.executor, {1, 2, 3}, 20);
      const std::string sentence = "rank " + std::to_string(failing) +
                                   ": it lost its memory at step " +
                                   std::to_string(step);
      assert(outcome.finish == INGOT_ERROR &&
             outcome.tokens.size() == static_cast<size_t>(step));
      assert(outcome.text == sentence);
      assert(
          contains(refusal([&] { run(*setting.executor, {1}, 1); }), sentence));
    }
  }
}

// Straight after a failure, and without one, the ranks can be closed.
void test_a_step_after_a_failure_fails_too() {
  Setting setting;
  setting.own.failing_rank = 1;
  script = &setting.own;
  Ranks ranks(&api, std::vector<RankOptions>(2));
  ranks.bind(pages_of_groups(ranks.spec(), 0, 8, 64, 2), 8);
  StepWriter writer;
  writer.start(1);
  writer.add_sequence(0, 1, 0, 0, true);
  writer.add_token(5);
  writer.add_row(0);
  const StepView step = writer.finish();
  for (int i = 0; i < 2; ++i) {
    int status = 0;
    const std::string sentence = refusal([&] {
      try {
        ranks.launch(step);
        ranks.finish();
      } catch (const Error &error) {
        status = error.status;
        throw;
      }
    });
    assert(sentence == "rank 1: it lost its memory at step 0" &&
           status == INGOT_MACHINE);
  }
}

void test_ranks_that_cannot_be_one() {
  Setting setting;
  script = &setting.own;
  setting.own.closed_rank = 1;
  assert(refusal([] { Ranks ranks(&api, std::vector<RankOptions>(3)); }) ==
         "rank 1: its folder is empty");
  assert(setting.own.open == 0);
  setting.own.closed_rank = -1;
  setting.own.longer_rank = 2;
  assert(
      contains(refusal([] { Ranks ranks(&api, std::vector<RankOptions>(3)); }),
               "rank2 was built with other limits"));
  assert(setting.own.open == 0);
}

} // namespace

int main() {
  test_tokens_come_back_to_every_rank();
  test_a_failing_rank_ends_the_engine();
  test_a_step_after_a_failure_fails_too();
  test_ranks_that_cannot_be_one();
  std::puts("ranks: ok");
}
