// engine.json: what an engine folder is and which files it consists of. Judged before anything else is read.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "files/json.h"

namespace ingot {

struct ManifestGroup {
  std::string name;
  std::string kind;         // "paged", "window" or "state"
  int32_t page_tokens = 0;  // W
  int32_t window = 0;       // tokens a query sees; 0: all
  bool sharded = true;
  std::vector<std::string> tensors;
  int64_t bytes_per_page = 0;  // all tensors of the group together
};

struct Manifest {
  std::string directory;
  std::string ingot;    // the version that built the folder
  std::string engine;   // "cpu", "fake", or what a plugin calls itself
  std::string library;  // shared library of the engine; "" for a built-in one
  int32_t ranks = 1;
  int32_t vocab = 0;
  std::string dtype;  // of activations, as the model says: "bfloat16"
  std::vector<int32_t> end_ids;
  int32_t max_tokens = 0, max_sequences = 0, max_length = 0;
  std::vector<ManifestGroup> groups;
  Json document;  // the whole of it

  std::string rank_directory(int32_t rank) const;  // "<directory>/rank0"
};

// Everything the folder promises is there: seal, format version, sizes, and checksums of all files but graph.onnx and
// the weights (those only with verify_weights; the header of the weights always). Throws Error(INGOT_FOLDER): one
// sentence that names the folder and the file, says what was expected and found, and what to do.
Manifest read_manifest(const std::string &directory, bool verify_weights);

}  // namespace ingot
