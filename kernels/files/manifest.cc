#include "files/manifest.h"

#include <sys/stat.h>

#include "error.h"
#include "files/mapped_file.h"
#include "files/sha256.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr int64_t version_read = 1;
constexpr std::string_view seal_begin = "{\"sha256\":\"", seal_end = "\",\n";
constexpr size_t seal_bytes = seal_begin.size() + 64 + seal_end.size();

void check_seal(const std::string &directory, std::string_view text) {
  const bool sealed = text.size() > seal_bytes && text.starts_with(seal_begin) &&
                      text.substr(seal_begin.size() + 64, seal_end.size()) == seal_end;
  if (!sealed) {
    fail(INGOT_FOLDER,
         "%s/engine.json does not begin with its seal (\"sha256\" on line 1): it is not an engine of Ingot, or it was "
         "edited; rebuild it with python -m core.build",
         directory.c_str());
  }
  const std::string promised(text.substr(seal_begin.size(), 64));
  const std::string found = sha256_hex(text.substr(seal_bytes));
  if (promised != found) {
    fail(
        INGOT_FOLDER,
        "%s/engine.json was edited or cut: its seal says sha256 %.12s…, its text has %.12s…; copy it again, or rebuild "
        "with python -m core.build",
        directory.c_str(), promised.c_str(), found.c_str());
  }
}

void check_version(const std::string &directory, const Json &document) {
  const std::string &format = document.at("format").as_string();
  if (format != "ingot-engine") fail(INGOT_FOLDER, "its format is '%.80s', expected 'ingot-engine'", format.c_str());
  const int64_t version = document.at("format_version").as_int();
  if (version == version_read) return;
  const Json *builder = document.find("ingot");
  const std::string built_by =
      builder && builder->kind() == Json::Kind::string ? builder->as_string() : "an unknown version";
  fail(INGOT_FOLDER,
       "%s was built by Ingot %.40s as format %lld, this Ingot reads format %lld; rebuild it with python -m core.build "
       "of "
       "this version",
       directory.c_str(), built_by.c_str(), static_cast<long long>(version), static_cast<long long>(version_read));
}

// A relative path that stays below the folder.
bool legal_path(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path == "engine.json") return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    for (const char c : part) {
      if (static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7F) return false;
    }
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

bool ends_with_file(std::string_view path, std::string_view file) {
  return path == file || (path.ends_with(file) && path[path.size() - file.size() - 1] == '/');
}

void check_sum(const std::string &path, std::string_view data, const std::string &promised, const char *part) {
  const std::string found = sha256_hex(data);
  if (found == promised) return;
  fail(INGOT_FOLDER,
       "%s was changed: engine.json says sha256 %.12s… of %s, found %.12s…; copy it again, or rebuild with "
       "python -m core.build",
       path.c_str(), promised.c_str(), part, found.c_str());
}

void check_weights_header(const std::string &path, std::string_view data, const std::string &promised) {
  uint64_t length = 0;
  if (data.size() >= 8) {
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(data[i]);
  }
  if (data.size() < 8 || length > data.size() - 8) {
    fail(INGOT_FOLDER, "%s was changed: its header does not lie in the file; copy it again", path.c_str());
  }
  check_sum(path, data.substr(0, 8 + length), promised, "its header");
}

void check_file(const std::string &directory, const std::string &name, const Json &facts, bool verify_weights) {
  if (!legal_path(name))
    fail(INGOT_FOLDER, "'files' names '%.200s', which is not a path below the folder", name.c_str());
  const int64_t bytes = facts.at("bytes").as_int();
  const std::string &sum = facts.at("sha256").as_string();
  const std::string path = directory + "/" + name;
  struct stat found;
  if (stat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) {
    fail(INGOT_FOLDER,
         "%s is incomplete: %s is not there; copy the whole folder again, or rebuild it with python -m core.build",
         directory.c_str(), name.c_str());
  }
  if (found.st_size != bytes) {
    fail(INGOT_FOLDER,
         "%s is incomplete: %s should have %lld bytes, it has %lld; copy it again, or rebuild it with "
         "python -m core.build",
         directory.c_str(), name.c_str(), static_cast<long long>(bytes), static_cast<long long>(found.st_size));
  }
  const bool weights = ends_with_file(name, "weights.safetensors"), graph = ends_with_file(name, "graph.onnx");
  if (weights || !graph || verify_weights) {
    const MappedFile file(path);
    if (weights) check_weights_header(path, file.text(), facts.at("header_sha256").as_string());
    if (verify_weights || (!weights && !graph)) check_sum(path, file.text(), sum, "the file");
  }
}

int32_t bounded(const Json &object, const char *name, int64_t least, int64_t most) {
  const int64_t value = object.at(name).as_int();
  if (value < least || value > most) {
    fail(INGOT_FOLDER, "'%s' is %lld, expected %lld to %lld", name, static_cast<long long>(value),
         static_cast<long long>(least), static_cast<long long>(most));
  }
  return static_cast<int32_t>(value);
}

ManifestGroup read_group(const Json &entry) {
  ManifestGroup group;
  group.name = entry.at("name").as_string();
  group.kind = entry.at("kind").as_string();
  if (group.kind != "paged" && group.kind != "window" && group.kind != "state") {
    fail(INGOT_FOLDER, "cache group '%.80s' is of kind '%.40s', expected paged, window or state", group.name.c_str(),
         group.kind.c_str());
  }
  group.page_tokens = bounded(entry, "page_tokens", group.kind == "state" ? 0 : 1, 1 << 20);
  group.window = bounded(entry, "window", group.kind == "window" ? 1 : 0, INT32_MAX);
  group.sharded = entry.at("sharded").as_bool();
  for (const Json &tensor : entry.at("tensors").as_array()) group.tensors.push_back(tensor.as_string());
  group.bytes_per_page = entry.at("bytes_per_page").as_int();
  if (group.bytes_per_page < 0) fail(INGOT_FOLDER, "cache group '%.80s' has a negative size", group.name.c_str());
  return group;
}

Manifest read_facts(const std::string &directory, const Json &document) {
  Manifest manifest;
  manifest.directory = directory;
  manifest.ingot = document.at("ingot").as_string();
  const Json &engine = document.at("engine");
  manifest.engine = engine.at("name").as_string();
  if (const Json *library = engine.find("library"); library && !library->is_null())
    manifest.library = library->as_string();
  manifest.ranks = bounded(document, "ranks", 1, 4096);
  const Json &model = document.at("model");
  manifest.vocab = bounded(model, "vocab", 1, 1 << 28);
  if (const Json *dtype = model.find("dtype")) manifest.dtype = dtype->as_string();
  for (const Json &id : document.at("end_ids").as_array()) {
    if (id.as_int() < 0 || id.as_int() >= manifest.vocab) {
      fail(INGOT_FOLDER, "end_ids holds %lld, the vocabulary ends at %d", static_cast<long long>(id.as_int()),
           manifest.vocab - 1);
    }
    manifest.end_ids.push_back(static_cast<int32_t>(id.as_int()));
  }
  const Json &limits = document.at("limits");
  manifest.max_tokens = bounded(limits, "max_tokens", 1, 1 << 24);
  manifest.max_sequences = bounded(limits, "max_sequences", 1, 1 << 20);
  manifest.max_length = bounded(limits, "max_length", 1, 1 << 28);
  for (const Json &entry : document.at("cache_groups").as_array()) manifest.groups.push_back(read_group(entry));
  return manifest;
}

void check_ranks(const Manifest &manifest, const Json &files) {
  const bool ours = manifest.engine == "cpu" || manifest.engine == "cuda" || manifest.engine == "fake";
  if (!ours) return;  // a stranger's engine has files of its own
  for (int32_t rank = 0; rank < manifest.ranks; ++rank) {
    const std::string plan = "rank" + std::to_string(rank) + "/plan.txt";
    if (!files.find(plan))
      fail(INGOT_FOLDER, "'files' does not name %s, which the engine '%s' reads", plan.c_str(),
           manifest.engine.c_str());
  }
}

Manifest judge(const std::string &directory, const Json &document, bool verify_weights) {
  check_version(directory, document);
  Manifest manifest = read_facts(directory, document);
  const Json &files = document.at("files");
  check_ranks(manifest, files);
  for (const Json::Member &file : files.as_object()) check_file(directory, file.name, file.value, verify_weights);
  manifest.document = document;
  return manifest;
}

}  // namespace

std::string Manifest::rank_directory(int32_t rank) const { return directory + "/rank" + std::to_string(rank); }

Manifest read_manifest(const std::string &directory, bool verify_weights) {
  struct stat facts;
  if (stat(directory.c_str(), &facts) != 0 || !S_ISDIR(facts.st_mode)) {
    fail(INGOT_FOLDER, "%s is not a folder; name the folder that python -m core.build wrote (its out=)",
         directory.c_str());
  }
  if (stat((directory + "/engine.json").c_str(), &facts) != 0) {
    fail(
        INGOT_FOLDER,
        "%s holds no engine.json, so it is not a complete engine; name the folder that python -m core.build wrote (its "
        "out=), or copy the whole of it again",
        directory.c_str());
  }
  const MappedFile file(directory + "/engine.json");
  check_seal(directory, file.text());
  try {
    return judge(directory, Json::parse(file.text()), verify_weights);
  } catch (const Error &error) {
    const std::string sentence = error.what();
    if (sentence.starts_with(directory)) throw;  // names the folder already
    fail(INGOT_FOLDER, "%s/engine.json: %.1000s; rebuild it with python -m core.build", directory.c_str(),
         sentence.c_str());
  }
}

}  // namespace ingot
