// tokens.bin: the bytes of every token id, and which ids are special, that is, not text.
//
// "INGOTTOK", u32 version 1, u32 count, count + 1 u64 offsets into the blob, count u8 flags (1: special), the blob;
// little endian.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "files/mapped_file.h"

namespace ingot {

class TokenBytes {
 public:
  TokenBytes() = default;  // of no tokens
  // Throws Error(INGOT_FOLDER) unless every offset lies in the file, in order.
  static TokenBytes open(const std::string &path);

  int32_t size() const { return count_; }
  // "" and true for an id that is out of range.
  std::string_view bytes(int32_t id) const;
  bool special(int32_t id) const;

 private:
  uint64_t offset(int32_t id) const;

  MappedFile file_;
  int32_t count_ = 0;
  const uint8_t *offsets_ = nullptr;
  const uint8_t *flags_ = nullptr;
  const char *blob_ = nullptr;
};

}  // namespace ingot
