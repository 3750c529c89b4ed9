#include "files/token_bytes.h"

#include <bit>
#include <cstring>

#include "error.h"
#include "ingot.h"

static_assert(std::endian::native == std::endian::little, "tokens.bin is read in place");

namespace ingot {
namespace {

constexpr size_t prefix = 16;  // magic, version, count

uint32_t word_at(const uint8_t *data) {
  uint32_t word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

[[noreturn]] void refuse(const std::string &path, const char *what) {
  fail(INGOT_FOLDER, "%s: %s: the file is damaged or of another version; rebuild the engine or copy it again",
       path.c_str(), what);
}

}  // namespace

TokenBytes TokenBytes::open(const std::string &path) {
  TokenBytes result;
  result.file_ = MappedFile(path);
  const uint8_t *data = result.file_.data();
  const uint64_t size = result.file_.size();
  if (size < prefix || std::memcmp(data, "INGOTTOK", 8) != 0) refuse(path, "it does not begin as a table of tokens");
  if (word_at(data + 8) != 1) refuse(path, "its version is not 1");
  const uint64_t count = word_at(data + 12);
  const uint64_t tables = prefix + (count + 1) * 8 + count;  // at most 2^32 * 9: no overflow
  if (count > INT32_MAX || tables > size) refuse(path, "it ends inside its tables");
  result.count_ = static_cast<int32_t>(count);
  result.offsets_ = data + prefix;
  result.flags_ = result.offsets_ + (count + 1) * 8;
  result.blob_ = reinterpret_cast<const char *>(data + tables);
  uint64_t last = 0;
  for (uint64_t id = 0; id <= count; ++id) {
    const uint64_t offset = result.offset(static_cast<int32_t>(id));
    if (offset < last || (id == 0 && offset != 0)) refuse(path, "its offsets are out of order");
    last = offset;
  }
  if (last != size - tables) refuse(path, "its last offset is not its end");
  for (uint64_t id = 0; id < count; ++id) {
    if (result.flags_[id] > 1) refuse(path, "a flag is neither 0 nor 1");
  }
  return result;
}

uint64_t TokenBytes::offset(int32_t id) const {
  uint64_t offset;
  std::memcpy(&offset, offsets_ + size_t{8} * static_cast<uint32_t>(id), sizeof offset);
  return offset;
}

std::string_view TokenBytes::bytes(int32_t id) const {
  if (id < 0 || id >= count_) return {};
  const uint64_t begin = offset(id);
  return {blob_ + begin, static_cast<size_t>(offset(id + 1) - begin)};
}

bool TokenBytes::special(int32_t id) const { return id < 0 || id >= count_ || flags_[id] == 1; }

}  // namespace ingot
