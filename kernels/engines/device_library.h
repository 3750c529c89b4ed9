// The libraries that bring accelerators: libingot_cuda.so beside this library.
#pragma once
#include <string>

#include "ingot_device.h"

namespace ingot {

// The device of engine "cuda", its library opened once and never closed. NULL: it is not there, or serves another ABI;
// `why` then says so, and what to do. Whether the machine has a GPU is the device's to say (count).
const IngotDeviceApi *find_device(const std::string &engine, std::string *why);

// Where find_device looks for the library.
std::string device_library_path(const std::string &engine);

}  // namespace ingot
