#include "ops/cuda/tactics.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace ingot {
namespace {

constexpr const char *title = "ingot-tactics 3";

}  // namespace

int32_t tactic_bucket(int32_t T) {
  int32_t bucket = 1;
  while (bucket < T && bucket < 8192) bucket *= 2;
  return bucket;
}

int32_t Tactics::find(const TacticKey &key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? none : found->second.tactic;
}

void Tactics::set(const TacticKey &key, int32_t tactic, double microseconds) { entries_[key] = {tactic, microseconds}; }

void Tactics::read(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != title || !std::getline(file, line) || line != machine_) return;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    TacticKey k{};
    Entry entry{};
    words >> k.F >> k.D >> k.weight_dtype >> k.x_dtype >> k.y_dtype >> k.bias_dtype >> k.x_scale_dtype >>
        k.scale_dtype >> k.scale_step >> k.N >> k.T >> entry.tactic >> entry.microseconds;
    if (words && entry.tactic >= 0) entries_.try_emplace(k, entry);
  }
}

bool Tactics::write(const std::string &path) {
  if (path.empty()) return false;
  read(path);  // what another process found meanwhile
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const std::string unfinished = path + "." + std::to_string(getpid());
  {
    std::ofstream file(unfinished);
    file << title << '\n' << machine_ << '\n';
    for (const auto &[k, entry] : entries_) {
      file << k.F << ' ' << k.D << ' ' << k.weight_dtype << ' ' << k.x_dtype << ' ' << k.y_dtype << ' ' << k.bias_dtype
           << ' ' << k.x_scale_dtype << ' ' << k.scale_dtype << ' ' << k.scale_step << ' ' << k.N << ' ' << k.T << ' '
           << entry.tactic << ' ' << entry.microseconds << '\n';
    }
    if (!file.flush()) return false;
  }
  std::filesystem::rename(unfinished, path, error);
  return !error;
}

std::string Tactics::user_path() const {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  std::string folder = cache && cache[0] == '/' ? cache : "";
  if (folder.empty() && home && home[0] == '/') folder = std::string(home) + "/.cache";
  if (folder.empty()) return "";
  std::string name = machine_;
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c) && c != '.'; }, '-');
  return folder + "/ingot/tactics-" + name + ".txt";
}

}  // namespace ingot
