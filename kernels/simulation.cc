// Seeded schedules on the fake engine with a clock of their own: random arrivals, lengths, priorities, forks, beams,
// guesses, stops, cancels at any moment, policies, steps ahead, small caches, ranks that sample and ranks that do not,
// judged after every step.
//
//   simulation              seeds 0 … 9999
//   simulation 100 5000     5000 seeds from 100 on
//   simulation 17           seed 17 alone, telling what happens
//   simulation timing       what a step of 256 sequences costs besides the engine
//
// What must hold: every page belongs to exactly those sequences whose tables name it, or is free; transactions take all
// or nothing; somebody makes progress; nobody is let in before an earlier one; a finished request has the tokens that
// its sequences have by themselves; in the end all pages are free.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engines/fake.h"
#include "error.h"
#include "runtime/leader.h"
#include "runtime/ranks.h"
#include "simulation/audit.h"
#include "simulation/sampling_rank.h"
#include "simulation/timing.h"
#include "simulation/undisturbed.h"
#include "simulation/world.h"

using namespace ingot;
using namespace ingot::simulation;

namespace {

class Simulation {
 public:
  Simulation(uint64_t seed, bool tells)
      : random_(seed),
        tells_(tells),
        world_(World::draw(random_)),
        folder_(world_.plan()),
        ranks_(fake_engine(), RankOptions{folder_.path, 1, "auto"}, wrap()),
        undisturbed_(world_) {
    ranks_.bind(world_.pages(), world_.max_sequences);
    LeaderOptions options{world_.max_sequences, world_.max_tokens, {}, world_.reuse, world_.policy, world_.lag};
    if (world_.guesses)
      options.draft = [this](std::span<const int32_t> tokens, std::vector<int32_t> &drafts) { guess(tokens, drafts); };
    leader_.emplace(ranks_, tokens_, options, [this] { return static_cast<double>(now_); });
    audit_.emplace(world_, *leader_);
    free_at_start_ = leader_->blocks().free_pages();
  }

  void run() {
    int32_t to_come = random_.number(1, 30);
    while (to_come > 0 || leader_->has_work()) {
      while (to_come > 0 && (random_.one_in(4) || !leader_->has_work())) {
        submit();
        --to_come;
      }
      if (random_.one_in(20) && !open_.empty()) cancel();
      advance();
    }
    require(leader_->blocks().free_pages() == free_at_start_, "pages are missing at the end");
    require(open_.empty(), "a request never ended");
  }

  const Statistics statistics() const { return leader_->statistics(); }
  uint64_t ahead() const { return device_ ? device_->ahead() : 0; }

 private:
  struct Open {
    Request request;
    std::vector<Answer> expected;
    std::vector<std::vector<int32_t>> tokens;  // told so far, by index
    std::vector<std::vector<float>> logprobs;
    std::vector<float> logits;
    int32_t finished = 0;
    bool cancelled = false;
  };

  Ranks::Wrap wrap() {
    if (!world_.samples) return {};
    return [this](Rank &rank) {
      const auto hurries = [this] { return random_.one_in(2); };
      auto device = std::make_unique<SamplingRank>(rank, hurries, world_.greedy_only);
      device_ = device.get();
      return device;
    };
  }

  // Some of what will come, and sometimes not.
  void guess(std::span<const int32_t> tokens, std::vector<int32_t> &drafts) {
    std::vector<int32_t> text(tokens.begin(), tokens.end());
    drafts.clear();
    for (int32_t i = random_.number(0, world_.guesses); i > 0; --i) {
      drafts.push_back(random_.one_in(3) ? random_.number(0, world_.vocab - 1) : undisturbed_.next(text));
      text.push_back(drafts.back());
    }
  }

  void submit() {
    const RequestLimits limits = leader_->limits();
    std::vector<int32_t> prompt;
    const int32_t length = random_.number(1, std::max(1, limits.length() - 1));
    const bool alike = random_.one_in(2);  // prompts that begin alike find each other's pages
    for (int32_t i = 0; i < length; ++i)
      prompt.push_back(alike ? i % world_.vocab : random_.number(0, world_.vocab - 1));
    std::vector<float> logits;
    const bool plain = world_.samples && !random_.one_in(6);  // the rank may draw it
    if (!plain && random_.one_in(5)) logits.resize(static_cast<size_t>(length) * static_cast<size_t>(world_.vocab), -1);
    const int32_t stop = random_.number(0, world_.vocab - 1);
    IngotRequest given{};
    given.size = sizeof given;
    given.ids = prompt.data();
    given.n_ids = length;
    given.max_tokens = limits.length() > 1 ? random_.number(0, 30) : 0;
    given.top_p = 1;
    given.logprobs = random_.one_in(3) ? random_.number(0, plain ? 0 : 2) : -1;
    given.seed = random_.seed();
    given.priority = random_.number(-1, 1);
    given.logits = logits.empty() ? nullptr : logits.data();
    given.no_reuse = random_.one_in(5);
    given.salt = random_.one_in(5) ? "pepper" : nullptr;
    given.n_stop_ids = random_.one_in(3);
    given.stop_ids = &stop;
    if (random_.one_in(3)) given.temperature = 40;  // hot enough for the fake engine's 100 against 0
    if (!plain) draw_choices(given);
    Open open;
    open.request = accepted(given, limits);
    open.request.id = next_id_;
    open.expected = undisturbed_.answers(open.request, limits.length());
    open.tokens.resize(open.expected.size());
    open.logprobs.resize(open.expected.size());
    open.logits = std::move(logits);
    tell("submit", next_id_, length);
    Request request = open.request;
    open_[next_id_++] = std::move(open);
    leader_->add(std::move(request));
  }

  void draw_choices(IngotRequest &given) {
    if (random_.one_in(4)) given.n = random_.number(1, 4);
    if (random_.one_in(8)) given.best_of = random_.number(1, 5);
    if (!random_.one_in(6)) return;
    given.beam_width = random_.number(2, 4);
    given.length_penalty = static_cast<float>(random_.number(-2, 2)) / 2;
    given.early_stopping = random_.number(0, 2);
    given.temperature = 0;
    given.best_of = 0;
  }

  // What this engine cannot do is asked for again in its plainest form.
  Request accepted(IngotRequest given, const RequestLimits &limits) {
    try {
      return read_request(given, limits, shelf_);
    } catch (const Error &) {
      given.n = given.best_of = given.beam_width = 0;
      return read_request(given, limits, shelf_);
    }
  }

  void cancel() {
    auto chosen = open_.begin();
    std::advance(chosen, random_.number(0, static_cast<int32_t>(open_.size()) - 1));
    chosen->second.cancelled = true;
    const uint64_t id = chosen->first;
    tell("cancel", id, 0);
    leader_->cancel(id);
    take_events();
    require(!open_.contains(id), "a cancelled request did not end at once");
  }

  void advance() {
    ++now_;
    const SchedulerCounts before = leader_->statistics().counts;
    const bool moved = leader_->step();
    require(moved || !leader_->has_work(), "nothing was scheduled although requests wait");
    const SchedulerCounts after = leader_->statistics().counts;
    const bool progress = after.generated_tokens + after.prompt_tokens + after.matched_tokens >
                          before.generated_tokens + before.prompt_tokens + before.matched_tokens;
    idle_ = progress || !moved ? 0 : idle_ + 1;
    // Recomputing after a preemption, rows of beams that wait for others, and ended requests in flight give no token.
    require(idle_ <= 2 * world_.max_length * world_.max_sequences + 10, "steps pass and nobody comes any further");
    take_events();
    audit_->after_step();
  }

  void take_events() {
    for (Event &event : leader_->take_events()) {
      const IngotEvent &fields = event.get();
      Open &open = open_.at(fields.request);
      const auto index = static_cast<size_t>(fields.index);
      require(index < open.tokens.size(), "an event tells of a text that nobody asked for");
      if (fields.kind == INGOT_TOKEN) {
        open.tokens[index].push_back(fields.token);
        open.logprobs[index].push_back(fields.logprob);
      } else {
        finish(open, fields, event.text);
      }
    }
  }

  void finish(Open &open, const IngotEvent &fields, const std::string &text) {
    const auto index = static_cast<size_t>(fields.index);
    const Answer &expected = open.expected[index];
    const std::vector<int32_t> &tokens = open.tokens[index];
    tell("finish", fields.request, static_cast<int32_t>(tokens.size()));
    const bool held = open.request.best_of > open.request.n;  // which ones are told depends on where the others stood
    if (fields.finish == INGOT_CANCELLED || (open.cancelled && held)) {
      require(open.cancelled, "a request was cancelled by nobody");
      const bool begins =
          tokens.size() <= expected.tokens.size() && std::equal(tokens.begin(), tokens.end(), expected.tokens.begin());
      require(begins || held, "a cancelled sequence has tokens that are not the undisturbed run's");
    } else {
      require(fields.finish == expected.finish, "a request ended for the wrong reason: " + text);
      require(tokens == expected.tokens, "text " + std::to_string(index) + " is not the undisturbed run's");
      require(open.logprobs[index] == expected.logprobs, "a log-probability is not the undisturbed run's");
      if (index == 0) check_logits(open);
    }
    if (++open.finished < open.request.n) return;
    const uint64_t id = fields.request;
    open_.erase(id);
  }

  void check_logits(const Open &open) const {
    const auto vocab = static_cast<size_t>(world_.vocab);
    const std::vector<int32_t> &prompt = open.request.prompt;
    for (size_t row = 0; row < open.logits.size() / vocab; ++row) {
      const int32_t best = undisturbed_.next({prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(row) + 1});
      for (size_t id = 0; id < vocab; ++id) {
        require(open.logits[row * vocab + id] == (static_cast<int32_t>(id) == best ? fake_score : 0),
                "a prompt's logits are wrong");
      }
    }
  }

  void tell(const char *what, uint64_t id, int32_t tokens) const {
    if (tells_)
      std::printf("step %lld: %s request %llu (%d tokens)\n", static_cast<long long>(now_), what,
                  static_cast<unsigned long long>(id), tokens);
  }

  Random random_;
  bool tells_;
  World world_;
  Folder folder_;
  TokenBytes tokens_;
  const SamplingRank *device_ = nullptr;  // if the rank samples
  Ranks ranks_;
  Undisturbed undisturbed_;
  std::optional<Leader> leader_;
  std::optional<Audit> audit_;
  BadWordsShelf shelf_;
  std::map<uint64_t, Open> open_;
  uint64_t next_id_ = 1;
  int64_t now_ = 0, idle_ = 0, free_at_start_ = 0;
};

struct Total : SchedulerCounts {
  uint64_t ahead = 0;
};

bool simulate(uint64_t seed, bool tells, Total &total) {
  try {
    Simulation simulation(seed, tells);
    simulation.run();
    const SchedulerCounts counts = simulation.statistics().counts;
    total.steps += counts.steps;
    total.generated_tokens += counts.generated_tokens;
    total.matched_tokens += counts.matched_tokens;
    total.preemptions += counts.preemptions;
    total.forks += counts.forks;
    total.accepted_tokens += counts.accepted_tokens;
    total.ahead += simulation.ahead();
    return true;
  } catch (const std::exception &error) {
    std::printf("seed %llu: %s\nreplay it with: simulation %llu\n", static_cast<unsigned long long>(seed), error.what(),
                static_cast<unsigned long long>(seed));
    return false;
  }
}

}  // namespace

int main(int argc, char **argv) {
  if (argc == 2 && std::strcmp(argv[1], "timing") == 0) return print_timing();
  const uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const uint64_t count = argc == 2 ? 1 : argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 10'000;
  Total total;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    if (!simulate(seed, argc == 2, total)) return 1;
  }
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu schedules, %llu steps, %llu of them launched ahead, %llu tokens, %llu preemptions, %llu forks, %llu "
      "guesses right, %llu tokens "
      "found in the cache: all as undisturbed\n",
      number(count), number(total.steps), number(total.ahead), number(total.generated_tokens),
      number(total.preemptions), number(total.forks), number(total.accepted_tokens), number(total.matched_tokens));
  return 0;
}
