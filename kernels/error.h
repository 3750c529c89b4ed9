// An error with a status of ingot.h and a sentence: what was asked, what was found, what to do.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace ingot {

struct Error : std::runtime_error {
  int status;  // IngotStatus
  Error(int status, const std::string &what) : std::runtime_error(what), status(status) {}
};

[[noreturn]] __attribute__((format(printf, 2, 3))) inline void fail(int status, const char *format, ...) {
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Error(status, text);
}

}  // namespace ingot
