#include "last_error.h"

namespace ingot {
namespace {
thread_local std::string sentence_of_thread;
}

void set_last_error(std::string sentence) { sentence_of_thread = std::move(sentence); }
const char *last_error() { return sentence_of_thread.c_str(); }

}  // namespace ingot
