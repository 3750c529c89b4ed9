// Seeded schedules on the fake engine: random arrivals, lengths, priorities, cancellations and small caches, judged
// after every step.
//
//   simulation              seeds 0 … 999
//   simulation 100 5000     5000 seeds from 100 on
//   simulation 17           seed 17 alone, telling what happens
//
// What must hold: every page belongs to exactly those sequences whose tables name it, or is free; a step keeps its
// limits; somebody makes progress; nobody runs while an older request of the same priority waits; a finished request
// has the tokens that the fake engine's rule gives for it alone; in the end all pages are free.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "engines/fake.h"
#include "error.h"
#include "runtime/leader.h"
#include "runtime/ranks.h"

using namespace ingot;

namespace {

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void require(bool holds, const std::string &what) {
  if (!holds) throw Violation(what);
}

struct World {
  int32_t max_tokens, max_sequences, max_rows, max_length, vocab;
  std::vector<PageGroup> groups;

  std::string plan() const {
    int32_t columns = 1;
    for (const PageGroup &group : groups)
      columns = std::max(columns, (max_length + group.page_tokens - 1) / group.page_tokens);
    const auto text = [](int32_t number) { return std::to_string(number); };
    std::string plan = "ingot-plan 1\nmax T=" + text(max_tokens) + " S=" + text(max_sequences) +
                       " N=" + text(max_rows) + " Q=" + text(max_tokens) + " M=" + text(columns) +
                       " L=" + text(max_length) + "\nvocab " + text(vocab) + "\n";
    for (size_t g = 0; g < groups.size(); ++g) {
      const std::string number = std::to_string(g), page = text(groups[g].page_tokens);
      plan += "group g" + number + " kind=" + (groups[g].window ? "window" : "paged") + " page=" + page +
              " window=" + text(groups[g].window) + " sharded=1\nstate k" + number + " group=g" + number +
              " dtype=i32 dims=P," + page + "\n";
    }
    plan += "function step\nfield ids_T i32 T\nfield positions_T i32 T\nfield sequences_T i32 T\nfield rows_N i32 N\n";
    for (size_t g = 0; g < groups.size(); ++g) {
      plan += "field pages" + std::to_string(g) + "_SM i32 S,M\nfield cells" + std::to_string(g) + "_T i32 T\n";
    }
    return plan + "end\n";
  }
};

// A folder that is gone with its object.
struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "ingot_simulation_XXXXXX").string();
  explicit Folder(const std::string &plan) {
    if (!mkdtemp(path.data())) throw std::runtime_error("cannot make a folder for temporary files");
    std::ofstream(path + "/plan.txt") << plan;
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

class Simulation {
 public:
  Simulation(uint64_t seed, bool tells)
      : random_(seed),
        tells_(tells),
        world_(make_world()),
        folder_(world_.plan()),
        rank_(fake_engine(), RankOptions{folder_.path, 1, "auto"}) {
    std::vector<int32_t> pages;
    for (const PageGroup &group : world_.groups) pages.push_back(group.pages);
    rank_.bind(pages, world_.max_sequences);
    leader_.emplace(rank_, tokens_, LeaderOptions{world_.max_sequences, world_.max_tokens, {}, number(0, 3) > 0},
                    [this] { return static_cast<double>(now_); });
    free_at_start_ = leader_->blocks().free_pages();
  }

  void run() {
    int32_t to_come = number(1, 40);
    while (to_come > 0 || leader_->has_work()) {
      while (to_come > 0 && (number(0, 3) == 0 || !leader_->has_work())) {
        submit();
        --to_come;
      }
      if (number(0, 20) == 0 && !open_.empty()) cancel();
      advance();
    }
    require(leader_->blocks().free_pages() == free_at_start_, "pages are missing at the end");
    require(open_.empty(), "a request never ended");
  }

  const Statistics statistics() const { return leader_->statistics(); }

 private:
  struct Open {
    std::vector<int32_t> prompt, tokens;
    int32_t max_tokens;
    bool cancelled = false;
    std::vector<float> logits;
  };

  int32_t number(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(random_() % static_cast<uint64_t>(high - low + 1));
  }

  World make_world() {
    World world{number(1, 40), number(1, 12), number(1, 12), number(4, 80), number(2, 60), {}};
    const int32_t groups = number(1, 3);
    for (int32_t g = 0; g < groups; ++g) {
      const int32_t page_tokens = 1 << number(0, 4), window = g && number(0, 1) ? number(1, 40) : 0;
      const int32_t whole = (world.max_length + page_tokens - 1) / page_tokens;
      world.groups.push_back({1 + number(1, 3 * whole), page_tokens, window});
    }
    return world;
  }

  void submit() {
    const RequestLimits limits = leader_->limits();
    Open open;
    open.max_tokens = limits.length() > 1 ? number(0, 30) : 0;
    const int32_t length = number(1, std::max(1, limits.length() - 1));
    const bool alike = number(0, 1);  // prompts that begin alike find each other's pages
    for (int32_t i = 0; i < length; ++i) open.prompt.push_back(alike ? i % world_.vocab : number(0, world_.vocab - 1));
    if (number(0, 4) == 0) open.logits.resize(static_cast<size_t>(length) * static_cast<size_t>(world_.vocab), -1);
    Open &kept = open_[next_id_] = std::move(open);
    Request request;
    request.id = next_id_++;
    request.prompt = kept.prompt;
    request.max_tokens = kept.max_tokens;
    request.priority = number(-1, 1);
    request.logits = kept.logits.empty() ? nullptr : kept.logits.data();
    tell("submit", request.id, length);
    leader_->add(std::move(request));
  }

  void cancel() {
    auto chosen = open_.begin();
    std::advance(chosen, number(0, static_cast<int32_t>(open_.size()) - 1));
    chosen->second.cancelled = true;
    tell("cancel", chosen->first, 0);
    leader_->cancel(chosen->first);
    take_events();
  }

  void advance() {
    ++now_;
    const bool moved = leader_->step();
    require(moved || !leader_->has_work(), "nothing was scheduled although requests wait");
    take_events();
    audit();
  }

  void take_events() {
    for (Event &event : leader_->take_events()) {
      const IngotEvent &fields = event.get();
      Open &open = open_.at(fields.request);
      if (fields.kind == INGOT_TOKEN) {
        open.tokens.push_back(fields.token);
        continue;
      }
      tell("finish", fields.request, static_cast<int32_t>(open.tokens.size()));
      require(fields.finish == (open.cancelled ? INGOT_CANCELLED : INGOT_LENGTH),
              "a request ended for the wrong reason: " + event.text);
      check_tokens(open);
      open_.erase(fields.request);
    }
  }

  int32_t foretold(const std::vector<int32_t> &tokens) const {
    std::vector<int32_t> windows;
    for (const PageGroup &group : world_.groups) windows.push_back(group.window);
    return fake_next_token(tokens, windows, world_.vocab);
  }

  void check_tokens(const Open &open) const {
    std::vector<int32_t> tokens = open.prompt;
    for (const int32_t token : open.tokens) {
      require(token == foretold(tokens),
              "token " + std::to_string(tokens.size()) + " of a sequence is not the undisturbed run's");
      tokens.push_back(token);
    }
    if (open.cancelled) return;
    const int32_t room = leader_->limits().length() - static_cast<int32_t>(open.prompt.size());
    require(static_cast<int32_t>(open.tokens.size()) == std::min(open.max_tokens, room),
            "a sequence has the wrong length");
    check_logits(open);
  }

  void check_logits(const Open &open) const {
    const auto vocab = static_cast<size_t>(world_.vocab);
    for (size_t row = 0; row < open.logits.size() / vocab; ++row) {
      const int32_t best = foretold({open.prompt.begin(), open.prompt.begin() + static_cast<ptrdiff_t>(row) + 1});
      for (size_t id = 0; id < vocab; ++id) {
        require(open.logits[row * vocab + id] == (static_cast<int32_t>(id) == best ? fake_score : 0),
                "a prompt's logits are wrong");
      }
    }
  }

  // Every page is counted on by exactly the running sequences whose tables name it.
  void audit() const {
    const BlockManager &blocks = leader_->blocks();
    for (int32_t g = 0; g < static_cast<int32_t>(world_.groups.size()); ++g) {
      std::vector<int32_t> owners(static_cast<size_t>(blocks.pool(g).size()), 0);
      for (const Sequence *sequence : leader_->scheduler().running_sequences()) {
        require(sequence->in_flight == 0 && sequence->slot >= 0,
                "a running sequence has tokens in flight between steps");
        for (const int32_t page : sequence->pages.groups[static_cast<size_t>(g)].pages)
          ++owners[static_cast<size_t>(page)];
      }
      int32_t free_pages = 0;
      for (int32_t page = 1; page < blocks.pool(g).size(); ++page) {
        require(owners[static_cast<size_t>(page)] == blocks.pool(g).references(page),
                "page " + std::to_string(page) + " is owned wrongly or lost");
        free_pages += owners[static_cast<size_t>(page)] == 0;
      }
      require(free_pages == blocks.pool(g).free_pages(), "the free pages are miscounted");
    }
    const auto &running = leader_->scheduler().running_sequences(), &waiting = leader_->scheduler().waiting_sequences();
    require(running.size() <= static_cast<size_t>(world_.max_sequences), "more sequences run than there are slots");
    const auto before = [](const Sequence *a, const Sequence *b) { return precedes(*a, *b); };
    require(std::is_sorted(running.begin(), running.end(), before) &&
                std::is_sorted(waiting.begin(), waiting.end(), before),
            "sequences stand out of order");
    for (const Sequence *runs : running) {
      for (const Sequence *waits : waiting) {
        require(runs->priority != waits->priority || runs->id < waits->id,
                "a younger request runs while an older one waits");
      }
    }
  }

  void tell(const char *what, uint64_t id, int32_t tokens) const {
    if (tells_)
      std::printf("step %lld: %s request %llu (%d tokens)\n", static_cast<long long>(now_), what,
                  static_cast<unsigned long long>(id), tokens);
  }

  std::mt19937_64 random_;
  bool tells_;
  World world_;
  Folder folder_;
  TokenBytes tokens_;
  Ranks rank_;
  std::optional<Leader> leader_;
  std::map<uint64_t, Open> open_;
  uint64_t next_id_ = 1;
  int64_t now_ = 0, free_at_start_ = 0;
};

bool simulate(uint64_t seed, bool tells, SchedulerCounts &total) {
  try {
    Simulation simulation(seed, tells);
    simulation.run();
    const SchedulerCounts counts = simulation.statistics().counts;
    total.steps += counts.steps;
    total.generated_tokens += counts.generated_tokens;
    total.matched_tokens += counts.matched_tokens;
    total.preemptions += counts.preemptions;
    return true;
  } catch (const std::exception &error) {
    std::printf("seed %llu: %s\nreplay it with: simulation %llu\n", static_cast<unsigned long long>(seed), error.what(),
                static_cast<unsigned long long>(seed));
    return false;
  }
}

}  // namespace

int main(int argc, char **argv) {
  const uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const uint64_t count = argc == 2 ? 1 : argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1000;
  SchedulerCounts total;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    if (!simulate(seed, argc == 2, total)) return 1;
  }
  std::printf(
      "%llu schedules, %llu steps, %llu tokens, %llu preemptions, %llu tokens found in the cache: all as undisturbed\n",
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(total.steps),
      static_cast<unsigned long long>(total.generated_tokens), static_cast<unsigned long long>(total.preemptions),
      static_cast<unsigned long long>(total.matched_tokens));
  return 0;
}
