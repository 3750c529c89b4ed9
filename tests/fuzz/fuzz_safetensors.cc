// safetensors: what is accepted lies in the file, in order, without overlaps, and can be read.
#include <cstdint>

#include "files/safetensors.h"
#include "input_file.h"
#include "refusal.h"

using namespace ingot;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const InputFile file;
  file.hold(data, size);
  accepts([&] {
    const Safetensors found = Safetensors::open(file.path());
    const uint8_t *begin = found.file().data() + found.header_bytes(), *end = found.file().data() + found.file().size();
    size_t bytes = 0;
    unsigned sum = 0;
    for (const StoredTensor &tensor : found.tensors()) {
      require(found.find(tensor.name) == &tensor);
      require(tensor.data >= begin && tensor.data + tensor.bytes <= end);
      bytes += tensor.bytes;
      for (size_t i = 0; i < tensor.bytes; ++i) sum += tensor.data[i];
    }
    require(found.header_bytes() + bytes == size);
    volatile unsigned kept = sum;
    (void)kept;
  });
  return 0;
}
