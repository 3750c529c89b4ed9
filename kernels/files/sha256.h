// SHA-256 (FIPS 180-4), with the x86 SHA instructions where the processor has them.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ingot {

class Sha256 {
 public:
  Sha256();
  void update(const void *data, size_t bytes);
  std::string hex();  // of everything so far; the object is spent after this

 private:
  void blocks(const uint8_t *data, size_t count);

  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> rest_;
  uint64_t total_ = 0;
};

std::string sha256_hex(std::string_view data);

}  // namespace ingot
