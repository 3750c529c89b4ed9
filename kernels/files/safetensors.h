// A mapped safetensors file: names to types, shapes and places, all of them checked before use.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "files/mapped_file.h"

namespace ingot {

struct StoredTensor {
  std::string name;
  std::string dtype;  // as the file has it: "BF16", "F8_E4M3", "U8"
  std::vector<int64_t> shape;
  uint8_t *data = nullptr;
  size_t bytes = 0;
};

class Safetensors {
 public:
  // Refuses: a header or a range beyond the file, sizes that do not follow from type and shape, overlaps, holes,
  // unknown types, duplicate names. Throws Error(INGOT_FOLDER) that names the file and the tensor.
  static Safetensors open(const std::string &path, MappedFile::Access access = MappedFile::Access::copy_on_write);

  const StoredTensor *find(std::string_view name) const;                 // NULL if there is none
  const std::vector<StoredTensor> &tensors() const { return tensors_; }  // sorted by name
  size_t header_bytes() const { return header_bytes_; }                  // the length word included
  const MappedFile &file() const { return file_; }

 private:
  MappedFile file_;
  size_t header_bytes_ = 0;
  std::vector<StoredTensor> tensors_;
};

}  // namespace ingot
