// Runs a fuzz target without libFuzzer: first every file of the corpus as it is, then random changes of them.
//
//   fuzz_plan FOLDER… [runs=N] [seed=S] [seconds=T]
//
// Ends with 0 after N changed inputs or T seconds. If the target crashes, ends the program or takes longer than 10 s
// for one input, the input is written to ./crash-<seed>-<run> and what to run again is said on the error output.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "likely_number.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A sanitizer that finds something must pass by at_signal() below.
extern "C" __attribute__((visibility("default"))) const char *__asan_default_options() { return "abort_on_error=1"; }
extern "C" __attribute__((visibility("default"))) const char *__tsan_default_options() { return "abort_on_error=1"; }
extern "C" __attribute__((visibility("default"))) const char *__ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}

namespace {

constexpr size_t longest = size_t{1} << 16;
constexpr unsigned slowest = 10;  // seconds

// What a signal handler needs to know; it may call nothing that allocates.
struct Current {
  std::string input, file, sentence;
};
Current *current = nullptr;

void keep_input() {
  if (!current) return;
  const int file = open(current->file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file >= 0) {
    if (write(file, current->input.data(), current->input.size()) < 0) current->sentence = "the input is lost\n";
    close(file);
  }
  if (write(2, current->sentence.data(), current->sentence.size()) < 0) return;
}

void at_signal(int number) {
  keep_input();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

std::string content_of(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Mutator {
 public:
  Mutator(uint64_t seed, const std::vector<std::string> &corpus) : random_(seed), corpus_(corpus) {}

  std::string next() {
    std::string text = corpus_[below(corpus_.size())];
    for (size_t i = 1 + below(4); i > 0; --i) change(text);
    if (text.size() > longest) text.resize(longest);
    return text;
  }

 private:
  size_t below(size_t end) { return end ? static_cast<size_t>(random_() % end) : 0; }

  void change(std::string &text) {
    const size_t place = below(text.size() + 1), length = 1 + below(below(2) ? 8 : text.size() + 1);
    const bool inside = place < text.size();
    switch (below(9)) {
      case 0:
        if (inside) text[place] = static_cast<char>(random_());
        break;
      case 1:
        if (inside) text[place] = static_cast<char>(text[place] ^ (1 << below(8)));
        break;
      case 2:
        if (inside) text.erase(place, length);
        break;
      case 3:
        if (inside) text.insert(below(text.size()), text.substr(place, length));
        break;
      case 4:
        number(text, place);
        break;
      case 5:
        for (size_t i = 0; i < 8 && place + i < text.size() && below(8); ++i)
          text[place + i] = static_cast<char>(below(2) ? 0xFF : below(2) ? 0 : 0x80);
        break;
      case 6: {  // a piece of another input
        const std::string &other = corpus_[below(corpus_.size())];
        const size_t from = below(other.size() + 1);
        text.insert(place, other.substr(from, length));
        break;
      }
      case 7:
        lines(text);
        break;
      default:
        text.resize(place);
    }
  }

  // The number that stands at or behind `place` becomes one that is likely to be mistaken.
  void number(std::string &text, size_t place) { mistake_number(text, place, static_cast<size_t>(random_())); }

  // A line is taken out, doubled, or moved.
  void lines(std::string &text) {
    const size_t begin = text.find('\n', below(text.size() + 1));
    if (begin == text.npos) return;
    const size_t end = text.find('\n', begin + 1);
    const std::string line = text.substr(begin, end == text.npos ? end : end - begin);
    if (below(2)) text.erase(begin, line.size());
    if (below(3)) text.insert(std::min(text.find('\n', below(text.size() + 1)), text.size()), line);
  }

  std::mt19937_64 random_;
  const std::vector<std::string> &corpus_;
};

void run(const std::string &input) {
  current->input = input;
  alarm(slowest);
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(input.data()), input.size());
  alarm(0);
}

void name_run(const std::string &program, uint64_t seed, uint64_t number, const std::string &source) {
  current->file = "crash-" + std::to_string(seed) + "-" + std::to_string(number);
  current->sentence = "\n" + program + ": failed at " + source + "; the input is in " + current->file + "; run " +
                      program + " " + current->file + " runs=0\n";
}

}  // namespace

int main(int argc, char **argv) {
  std::vector<std::string> corpus, names;
  uint64_t runs = UINT64_MAX, seed = 1;
  double seconds = 60;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("runs=")) {
      runs = std::strtoull(argv[i] + 5, nullptr, 10);
    } else if (argument.starts_with("seed=")) {
      seed = std::strtoull(argv[i] + 5, nullptr, 10);
    } else if (argument.starts_with("seconds=")) {
      seconds = std::strtod(argv[i] + 8, nullptr);
    } else if (std::filesystem::is_directory(argument)) {
      for (const auto &entry : std::filesystem::recursive_directory_iterator(argument)) {
        if (entry.is_regular_file()) names.push_back(entry.path());
      }
    } else if (std::filesystem::exists(argument)) {
      names.push_back(argument);
    } else {
      std::fprintf(stderr, "%s: %s is neither a file nor runs=, seed= or seconds=\n", argv[0], argv[i]);
      return 2;
    }
  }
  std::sort(names.begin(), names.end());
  for (const std::string &name : names) corpus.push_back(content_of(name));
  corpus.emplace_back();
  Current kept;
  current = &kept;
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) std::signal(number, at_signal);
  for (size_t i = 0; i < corpus.size(); ++i) {
    name_run(argv[0], seed, i, "corpus file " + (i < names.size() ? names[i] : "''"));
    run(corpus[i]);
  }
  Mutator mutator(seed, corpus);
  uint64_t number = 0;
  const std::clock_t end = std::clock() + static_cast<std::clock_t>(seconds * CLOCKS_PER_SEC);
  for (; number < runs && std::clock() < end; ++number) {
    name_run(argv[0], seed, number, "seed=" + std::to_string(seed) + ", run " + std::to_string(number));
    run(mutator.next());
  }
  std::printf("%s: %zu files, %llu changed inputs\n", argv[0], names.size(), static_cast<unsigned long long>(number));
}
