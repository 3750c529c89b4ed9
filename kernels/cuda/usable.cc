#include "cuda/usable.h"

#include <cstdlib>
#include <sstream>

namespace ingot::cuda {
namespace {

constexpr const char *built_for = INGOT_CUDA_BUILT_FOR;
constexpr const char *otherwise = ", or build with engine=cpu";

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string driver_lack() {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || cudaRuntimeGetVersion(&runtime) != cudaSuccess || driver == 0) {
    cudaGetLastError();
    return std::string("no NVIDIA driver is loaded; install one that serves CUDA ") + version_text(CUDART_VERSION) +
           otherwise;
  }
  if (driver / 1000 >= runtime / 1000) return "";
  return "the NVIDIA driver serves CUDA " + version_text(driver) + ", this library was built with CUDA " +
         version_text(runtime) + "; install a driver of CUDA " + std::to_string(runtime / 1000) + " or newer" +
         otherwise;
}

}  // namespace

bool runs_on(const std::string &built, int major, int minor) {
  std::istringstream words(built);
  for (std::string word; std::getline(words, word, ',');) {
    char *rest = nullptr;
    const long number = std::strtol(word.c_str(), &rest, 10);
    if (number == 0) return true;  // "native", "all": known where it was built
    const long sm = 10 * major + minor;
    const bool one_only = *rest == 'a' || *rest == 'f', machine_code = word.find("-virtual") == std::string::npos;
    const bool portable = word.find("-real") == std::string::npos && !one_only;  // it has code for newer GPUs, too
    if (sm == number || (portable && sm > number)) return true;
    if (machine_code && !one_only && number / 10 == major && sm > number) return true;
  }
  return false;
}

std::vector<int> usable(std::string *why) {
  std::vector<int> found;
  *why = driver_lack();
  if (!why->empty()) return found;
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    cudaGetLastError();
    const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
    *why = std::string("the driver shows no GPU (") +
           cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error) +
           (visible ? std::string("; CUDA_VISIBLE_DEVICES=") + visible : "") + "); make one visible" + otherwise;
    return found;
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    if (runs_on(built_for, properties.major, properties.minor)) {
      found.push_back(ordinal);
    } else {
      const std::string sm = std::to_string(properties.major) + std::to_string(properties.minor);
      *why += (why->empty() ? "" : "; ") + std::string(properties.name) + " is sm_" + sm + ", ";
      *why += properties.major < 8 ? std::string("the kernels need sm_80 or newer")
                                   : std::string("the library is built for ") + built_for +
                                         ": build it with INGOT_CUDA_ARCHITECTURES=" + sm;
    }
  }
  if (found.empty() && why->empty()) *why = "the driver tells nothing about its GPUs";
  return found;
}

}  // namespace ingot::cuda
