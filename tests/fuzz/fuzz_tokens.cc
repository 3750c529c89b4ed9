// tokens.bin: the bytes of all ids, one behind the other, are the rest of the file.
#include <cstdint>

#include "files/token_bytes.h"
#include "input_file.h"
#include "refusal.h"

using namespace ingot;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const InputFile file;
  file.hold(data, size);
  accepts([&] {
    const TokenBytes tokens = TokenBytes::open(file.path());
    std::string all;
    for (int32_t id = 0; id < tokens.size(); ++id) {
      all += tokens.bytes(id);
      tokens.special(id);
    }
    const size_t count = static_cast<size_t>(tokens.size());
    require(size == 16 + 8 * (count + 1) + count + all.size());
    require(std::string_view(reinterpret_cast<const char *>(data), size).ends_with(all));
    require(tokens.bytes(tokens.size()).empty() && tokens.special(-1));
  });
  return 0;
}
