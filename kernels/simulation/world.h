// A world for one schedule: an engine's limits and caches drawn from a seed, and the folder that the fake engine reads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/block_manager.h"
#include "runtime/policy.h"

namespace ingot::simulation {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  int32_t number(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int32_t count) { return number(1, count) == 1; }
  uint64_t seed() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

struct World {
  int32_t max_tokens, max_sequences, max_rows, max_length, vocab;
  std::vector<PageGroup> groups;
  bool reuse;
  Policy policy;
  int32_t lag;
  int32_t guesses;           // drafts at most; 0: none
  bool samples = false;      // the rank does, and takes steps ahead
  bool greedy_only = false;  // by no other settings

  static World draw(Random &random) {
    World world{random.number(1, 40), random.number(1, 12),
                random.number(1, 12), random.number(4, 80),
                random.number(2, 60), {},
                !random.one_in(4),    {},
                random.number(0, 2),  0};
    world.policy = random.one_in(3) ? Policy::guaranteed_no_evict : Policy::max_utilization;
    if (random.one_in(3)) world.guesses = random.number(1, 5);
    world.samples = random.one_in(2);
    world.greedy_only = random.one_in(3);
    const bool crowded = random.one_in(3);  // the sequences that may run want three times the pages there are
    const int32_t groups = random.number(1, 3);
    for (int32_t g = 0; g < groups; ++g) {
      const int32_t page_tokens = 1 << random.number(0, 4);
      const int32_t window = g && random.one_in(2) ? random.number(1, 40) : 0;
      const int32_t whole = (world.max_length + page_tokens - 1) / page_tokens;
      const int32_t pages = crowded ? std::max(1, world.max_sequences * whole / 3) : random.number(1, 3 * whole);
      world.groups.push_back({1 + pages, page_tokens, window});
    }
    return world;
  }

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

  std::vector<int32_t> pages() const {
    std::vector<int32_t> pages;
    for (const PageGroup &group : groups) pages.push_back(group.pages);
    return pages;
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

}  // namespace ingot::simulation
