// Which engines there are: those built in, and those of shared libraries that export `ingot_engine_v1`.
#pragma once
#include <string>

#include "ingot_engine.h"

namespace ingot {

// The engine that engine.json names. `library` "": a built-in one ("cpu", "fake"); else a path, opened once and never
// closed. Throws Error(INGOT_FOLDER) for an unknown name, Error(INGOT_MACHINE) when the library cannot be opened or
// serves another ABI.
const IngotEngineApi *find_engine(const std::string &name, const std::string &library);

}  // namespace ingot
