// Which engine folders a test runs on: its arguments, or what INGOT_TEST_ENGINES lists, separated by ':'.
#pragma once
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

inline constexpr int skipped = 77;  // what ctest and automake take as such

inline std::vector<std::string> small_engines(int argc, char **argv) {
  std::vector<std::string> folders(argv + 1, argv + argc);
  const char *listed = folders.empty() ? std::getenv("INGOT_TEST_ENGINES") : nullptr;
  for (std::string rest = listed ? listed : ""; !rest.empty();) {
    const size_t end = std::min(rest.find(':'), rest.size());
    folders.push_back(rest.substr(0, end));
    rest.erase(0, end + 1);
  }
  if (folders.empty())
    std::fprintf(stderr, "%s: name engine folders, or set INGOT_TEST_ENGINES=FOLDER:FOLDER\n", argv[0]);
  return folders;
}
