// What the C++ tests write by hand: files in a fresh folder, safetensors, sealed manifests; and how they ask for refusals.
#pragma once
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>

#include "error.h"
#include "files/sha256.h"

// A folder that is gone with its object.
struct SmallFolder {
  std::string path;

  SmallFolder() {
    path = (std::filesystem::temp_directory_path() / "ingot_test_XXXXXX").string();
    if (!mkdtemp(path.data())) std::abort();
  }
  ~SmallFolder() { std::filesystem::remove_all(path); }

  void write(const std::string &name, std::string_view text) const {
    const std::filesystem::path file = std::filesystem::path(path) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
  }
};

inline std::string little_endian(uint64_t number, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(number >> (8 * i));
  return text;
}

inline std::string safetensors(const std::string &header, std::string_view data) {
  return little_endian(header.size(), 8) + header + std::string(data);
}

inline std::string seal(const std::string &rest) { return "{\"sha256\":\"" + ingot::sha256_hex(rest) + "\",\n" + rest; }

// The sentence with which `body` refuses; "" if it does not.
template <typename Body>
std::string refusal(Body &&body) {
  try {
    body();
  } catch (const ingot::Error &error) {
    assert(error.what()[0] != '\0');
    return error.what();
  }
  return "";
}

inline bool contains(const std::string &text, std::string_view part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) std::fprintf(stderr, "expected '%.*s' in: %s\n", static_cast<int>(part.size()), part.data(), text.c_str());
  return found;
}
