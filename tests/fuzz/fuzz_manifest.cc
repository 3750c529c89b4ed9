// engine.json: the input as the whole file, and as what stands behind a seal that fits.
//
// The folder holds the files that the seeds of tests/fuzz_corpus.py name, so that their sums are compared.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "files/manifest.h"
#include "files/sha256.h"
#include "input_file.h"
#include "refusal.h"

using namespace ingot;

namespace {

struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "ingot_fuzz_XXXXXX").string();
  InputFile manifest;

  Folder() {
    if (!mkdtemp(path.data())) std::abort();
    std::filesystem::create_directory(path + "/rank0");
    std::ofstream(path + "/rank0/plan.txt") << "plan";
    std::ofstream(path + "/rank0/weights.safetensors").write("\2\0\0\0\0\0\0\0{}", 10);
    std::filesystem::create_symlink(manifest.path(), path + "/engine.json");
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const Folder folder;
  folder.manifest.hold(data, size);
  accepts([] { read_manifest(folder.path, true); });
  const std::string rest(reinterpret_cast<const char *>(data), size);
  const std::string sealed = "{\"sha256\":\"" + sha256_hex(rest) + "\",\n" + rest;
  folder.manifest.hold(sealed.data(), sealed.size());
  accepts([] {
    const Manifest manifest = read_manifest(folder.path, true);
    require(manifest.ranks >= 1 && manifest.vocab >= 1 && manifest.max_tokens >= 1 && manifest.max_length >= 1);
    for (const int32_t id : manifest.end_ids) require(id >= 0 && id < manifest.vocab);
    for (const ManifestGroup &group : manifest.groups) require(group.bytes_per_page >= 0 && group.window >= 0);
  });
  return 0;
}
