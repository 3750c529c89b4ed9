// Step messages as a rank replays them: read, applied to slots and cache, made into step fields, run on the fake
// engine, which reads every token back through the page tables.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engines/fake.h"
#include "refusal.h"
#include "runtime/rank.h"

using namespace ingot;

namespace {

constexpr const char *plan =
    "ingot-plan 1\n"
    "max T=16 S=4 N=4 Q=16 M=8 L=32\n"
    "vocab 50\n"
    "group full kind=paged page=4 window=0 sharded=1\n"
    "group near kind=window page=4 window=5 sharded=1\n"
    "state k0 group=full dtype=i32 dims=P,4\n"
    "state k1 group=near dtype=i32 dims=P,4\n"
    "function step\n"
    "field ids_T i32 T\nfield positions_T i32 T\nfield sequences_T i32 T\nfield rows_N i32 N\n"
    "field slots_S i32 S\nfield starts_S1 i32 S+1\nfield cached_S i32 S\n"
    "field pages0_SM i32 S,M\nfield cells0_T i32 T\nfield pages1_SM i32 S,M\nfield cells1_T i32 T\n"
    "end\n";

struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "ingot_fuzz_XXXXXX").string();

  Folder() {
    if (!mkdtemp(path.data())) std::abort();
    std::ofstream(path + "/plan.txt") << plan;
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const Folder folder;
  Rank rank(fake_engine(), RankOptions{folder.path, 1, "auto"});
  rank.bind({20, 12}, 4);
  // A message lies at a multiple of 8. Nothing but its bytes is there, so that reading beyond them is seen.
  void *message = std::aligned_alloc(8, (size + 7) / 8 * 8);
  if (size && !message) std::abort();
  if (size) std::memcpy(message, data, size);
  for (int time = 0; time < 2; ++time) accepts([&] { rank.run(read_step(message, size)); });
  std::free(message);
  return 0;
}
