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
// With the times of the ops and their kernels where a profile was asked for.
std::string describe(const Statistics &statistics, const Rank &rank);

}  // namespace ingot
