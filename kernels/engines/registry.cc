#include "engines/registry.h"

#include <dlfcn.h>

#include <cstddef>

#include "engines/fake.h"
#include "engines/interpreter.h"
#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr const char *symbol = "ingot_engine_v1";
constexpr size_t least_size = offsetof(IngotEngineApi, close) + sizeof(IngotEngineApi::close);  // of the first version

const IngotEngineApi *open_library(const std::string &name, const std::string &library) {
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    fail(INGOT_MACHINE, "engine '%.80s': its library cannot be opened: %.1000s; install the package it came from",
         name.c_str(), dlerror());
  }
  const auto entry = reinterpret_cast<decltype(&ingot_engine_v1)>(dlsym(handle, symbol));
  if (!entry) fail(INGOT_MACHINE, "engine '%.80s': %.1000s does not export %s", name.c_str(), library.c_str(), symbol);
  const IngotEngineApi *api = entry(INGOT_ENGINE_ABI);
  if (!api || api->abi != INGOT_ENGINE_ABI || api->size < least_size) {
    fail(INGOT_MACHINE,
         "engine '%.80s': %.1000s does not serve engine interface %d of this Ingot; install a version that does",
         name.c_str(), library.c_str(), INGOT_ENGINE_ABI);
  }
  if (!api->open || !api->spec || !api->bind || !api->prepare || !api->enqueue || !api->refit || !api->close) {
    fail(INGOT_MACHINE, "engine '%.80s': %.1000s leaves out a function of the engine interface", name.c_str(),
         library.c_str());
  }
  return api;
}

}  // namespace

const IngotEngineApi *find_engine(const std::string &name, const std::string &library) {
  if (!library.empty()) return open_library(name, library);
  if (name == "cpu") return cpu_engine();
  if (name == "cuda") return cuda_engine();
  if (name == "fake") return fake_engine();
  fail(INGOT_FOLDER,
       "engine.json asks for the engine '%.80s', this Ingot has cpu, cuda and fake built in; install the package that "
       "offers "
       "it, "
       "or rebuild with engine=cpu",
       name.c_str());
}

}  // namespace ingot
