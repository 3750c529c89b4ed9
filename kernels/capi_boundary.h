// Where the C API meets the code behind it: what is thrown becomes a status and the thread's last error.
#pragma once
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "error.h"
#include "ingot.h"
#include "last_error.h"

namespace ingot {

template <typename Body>
int guarded(Body &&body) {
  try {
    body();
    return INGOT_OK;
  } catch (const Error &error) {
    set_last_error(error.what());
    return error.status;
  } catch (const std::bad_alloc &) {
    set_last_error("memory ran out; give the process more, or open the engine with fewer cache_bytes");
    return INGOT_MACHINE;
  } catch (const std::exception &error) {
    set_last_error(error.what());
    return INGOT_FAILED;
  }
}

// A copy of `text` for the caller, who frees it with ingot_free.
inline char *owned(const std::string &text) {
  char *copy = strdup(text.c_str());
  if (!copy) throw std::bad_alloc();
  return copy;
}

}  // namespace ingot
