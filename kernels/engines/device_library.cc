#include "engines/device_library.h"

#include <dlfcn.h>
#include <unistd.h>

namespace ingot {
namespace {

constexpr const char *symbol = "ingot_device_v1";
constexpr size_t least_size = sizeof(IngotDeviceApi);  // of the first version

}  // namespace

std::string device_library_path(const std::string &engine) {
  Dl_info self{};
  std::string folder;
  if (dladdr(reinterpret_cast<const void *>(&device_library_path), &self) && self.dli_fname) {
    const std::string path = self.dli_fname;
    const size_t slash = path.rfind('/');
    folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  }
  return folder + "libingot_" + engine + ".so";
}

const IngotDeviceApi *find_device(const std::string &engine, std::string *why) {
  if (engine != "cuda") {
    *why = "there are devices for engine=cuda only";
    return nullptr;
  }
  const std::string path = device_library_path(engine);
  if (access(path.c_str(), F_OK) != 0) {
    *why = path +
           " is not there: this Ingot was built without its CUDA half; install it again where nvcc of CUDA 12.8 "
           "or newer is on PATH, or build with engine=cpu";
    return nullptr;
  }
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *reason = dlerror();
    *why = "the CUDA half cannot be opened: " + std::string(reason ? reason : path.c_str()) + "; install Ingot again";
    return nullptr;
  }
  const auto entry = reinterpret_cast<decltype(&ingot_device_v1)>(dlsym(handle, symbol));
  const IngotDeviceApi *api = entry ? entry(INGOT_DEVICE_ABI) : nullptr;
  if (api && api->abi == INGOT_DEVICE_ABI && api->size >= least_size) return api;
  *why = path +
         (entry ? " does not serve device interface " + std::to_string(INGOT_DEVICE_ABI)
                : std::string(" does not export ") + symbol) +
         ": it is of another build than this Ingot; install Ingot again";
  return nullptr;
}

}  // namespace ingot
