#include "ops/cuda/cublaslt_library.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <string_view>
#include <vector>

namespace ingot {
namespace {

constexpr const char *names[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

int note_loaded(dl_phdr_info *info, size_t, void *found) {
  const std::string_view path = info->dlpi_name ? info->dlpi_name : "";
  const std::string_view name = path.substr(path.rfind('/') + 1);
  for (const char *wanted : names) {
    if (name != wanted) continue;
    *static_cast<std::string *>(found) = path;
    return 1;
  }
  return 0;
}

std::vector<std::string> folders() {
  std::vector<std::string> found;
  const char *listed = std::getenv("INGOT_CUDA_LIBRARIES");
  for (std::string_view rest = listed ? listed : ""; !rest.empty();) {
    const size_t end = rest.find(':');
    if (end != 0) found.emplace_back(rest.substr(0, end));
    rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
  }
  found.emplace_back();  // the system's loader
  const char *home = std::getenv("CUDA_HOME");
  for (const std::string &root : {std::string(home ? home : ""), std::string("/usr/local/cuda")}) {
    if (root.empty()) continue;
    found.push_back(root + "/lib64");
    found.push_back(root + "/lib");
  }
  return found;
}

}  // namespace

void *open_cublaslt_library(std::string *path, std::string *why) {
  std::string loaded;
  dl_iterate_phdr(note_loaded, &loaded);
  std::vector<std::string> candidates;
  if (!loaded.empty()) candidates.push_back(loaded);
  for (const std::string &folder : folders()) {
    for (const char *name : names) candidates.push_back(folder.empty() ? name : folder + "/" + name);
  }
  for (const std::string &candidate : candidates) {
    if (void *library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      *path = candidate;
      return library;
    }
  }
  *why = "cuBLASLt is in none of:";
  for (const std::string &candidate : candidates) *why += " " + candidate;
  *why += "; install the package nvidia-cublas, or name its folder in INGOT_CUDA_LIBRARIES";
  return nullptr;
}

}  // namespace ingot
