// What an engine says of itself, as JSON.
#pragma once
#include <string>

#include "files/manifest.h"
#include "runtime/leader.h"
#include "runtime/ranks.h"

namespace ingot {

struct OpenFacts {
  const Manifest &manifest;
  const Ranks &ranks;
  RequestLimits limits;
  LeaderOptions options;
  int32_t threads;
  std::string kernels;
};

std::string describe(const OpenFacts &facts);
// times: of the ops, where a profile was asked for.
std::string describe(const Statistics &statistics, const std::vector<IngotOpTime> &times);

}  // namespace ingot
