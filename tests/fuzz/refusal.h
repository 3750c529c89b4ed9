// The only way in which a reader may say no.
#pragma once
#include <cstdlib>
#include <string>

#include "error.h"

// Whether `body` accepts its input. An Error with a sentence is a refusal; whatever else is thrown ends the fuzzer.
template <typename Body>
bool accepts(Body &&body) {
  try {
    body();
    return true;
  } catch (const ingot::Error &error) {
    if (error.what()[0] == '\0' || error.status == 0) std::abort();
    return false;
  }
}

inline void require(bool holds) {
  if (!holds) std::abort();
}
