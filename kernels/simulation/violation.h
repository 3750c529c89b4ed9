// What a simulation found to be wrong.
#pragma once
#include <stdexcept>
#include <string>

namespace ingot::simulation {

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// `what` only becomes a string where something is wrong: this is called a hundred million times.
inline void require(bool holds, const char *what) {
  if (!holds) throw Violation(what);
}
inline void require(bool holds, const std::string &what) {
  if (!holds) throw Violation(what);
}

}  // namespace ingot::simulation
