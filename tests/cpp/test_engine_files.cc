// Engine folders as they are built, with bytes changed: what is refused before use, and what only verify_weights sees.
//
//   test_engine_files FOLDER…        or INGOT_TEST_ENGINES=FOLDER:FOLDER
#undef NDEBUG
#include <cassert>
#include <cstring>
#include <filesystem>
#include <vector>

#include "files/manifest.h"
#include "small_engines.h"
#include "small_folder.h"

using namespace ingot;

namespace {

std::string content_of(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void change(const std::string &path, const std::string &content, size_t place) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(place));
  file.put(static_cast<char>(content[place] ^ 0x11));
}

// The first and last bytes, and of those between about 40.
std::vector<size_t> places(size_t begin, size_t end) {
  std::vector<size_t> found;
  for (size_t i = begin; i < end; i += std::max<size_t>(1, (end - begin) / 40)) found.push_back(i);
  if (end > begin) found.push_back(end - 1);
  return found;
}

// Every small file is sealed as a whole, weights by their header; the rest of the weights, and graph.onnx, which the
// runtime does not read, are compared when asked.
void test_changed_bytes(const char *engine) {
  const SmallFolder copy;
  const std::string folder = copy.path + "/engine";
  std::filesystem::copy(engine, folder, std::filesystem::copy_options::recursive);
  const Manifest manifest = read_manifest(folder, true);
  std::vector<std::string> names{"engine.json"};
  for (const Json::Member &file : manifest.document.at("files").as_object()) names.push_back(file.name);
  assert(names.size() > 4);
  for (const std::string &name : names) {
    const std::string path = folder + "/" + name, content = content_of(path);
    const bool weights = name.ends_with("weights.safetensors"), graph = name.ends_with("graph.onnx");
    uint64_t header = 0;
    if (weights) std::memcpy(&header, content.data(), sizeof header);
    const size_t sealed = weights ? 8 + header : graph ? 0 : content.size();
    for (const size_t place : places(0, sealed)) {
      change(path, content, place);
      assert(contains(refusal([&] { read_manifest(folder, false); }), name));
      copy.write("engine/" + name, content);
    }
    const auto rest = places(sealed, content.size());
    for (size_t i = 0; i < rest.size(); i += 4) {
      change(path, content, rest[i]);
      read_manifest(folder, false);
      assert(contains(refusal([&] { read_manifest(folder, true); }), name));
      copy.write("engine/" + name, content);
    }
    std::filesystem::resize_file(path, content.size() - 1);
    assert(contains(refusal([&] { read_manifest(folder, false); }), name));
    std::filesystem::remove(path);
    assert(contains(refusal([&] { read_manifest(folder, false); }), name));
    copy.write("engine/" + name, content);
  }
  read_manifest(folder, true);
}

}  // namespace

int main(int argc, char **argv) {
  const std::vector<std::string> folders = small_engines(argc, argv);
  for (const std::string &folder : folders) test_changed_bytes(folder.c_str());
  return folders.empty() ? skipped : 0;
}
