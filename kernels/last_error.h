// The sentence that ingot_last_error() returns, one per thread.
#pragma once
#include <string>

namespace ingot {

void set_last_error(std::string sentence);
const char *last_error();

}  // namespace ingot
