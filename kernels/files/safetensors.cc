#include "files/safetensors.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "files/json.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr size_t header_limit = size_t{100} << 20;

size_t bytes_of_type(std::string_view type) {
  static constexpr struct {
    const char *name;
    size_t bytes;
  } types[] = {{"F64", 8}, {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4},     {"U32", 4},     {"F16", 2}, {"BF16", 2},
               {"I16", 2}, {"U16", 2}, {"I8", 1},  {"U8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"BOOL", 1}};
  for (const auto &known : types) {
    if (type == known.name) return known.bytes;
  }
  return 0;
}

uint64_t length_word(const uint8_t *data) {
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | data[i];
  return length;
}

// Throws unless `entry` describes `length` bytes of data exactly within itself.
StoredTensor read_entry(const std::string &name, const Json &entry, uint8_t *data, size_t length) {
  StoredTensor tensor;
  tensor.name = name;
  tensor.dtype = entry.at("dtype").as_string();
  size_t bytes = bytes_of_type(tensor.dtype);
  if (bytes == 0) fail(INGOT_FOLDER, "its type '%.40s' is unknown", tensor.dtype.c_str());
  for (const Json &size : entry.at("shape").as_array()) {
    tensor.shape.push_back(size.as_int());
    if (tensor.shape.back() < 0) fail(INGOT_FOLDER, "its shape has a negative size");
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(tensor.shape.back()), &bytes)) {
      fail(INGOT_FOLDER, "its shape has more elements than memory has addresses");
    }
  }
  const auto &offsets = entry.at("data_offsets").as_array();
  if (offsets.size() != 2) fail(INGOT_FOLDER, "its data_offsets are not a pair");
  const int64_t begin = offsets[0].as_int(), end = offsets[1].as_int();
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > length) {
    fail(INGOT_FOLDER, "its bytes %lld…%lld do not lie in the %zu bytes of data", static_cast<long long>(begin),
         static_cast<long long>(end), length);
  }
  if (static_cast<size_t>(end - begin) != bytes) {
    fail(INGOT_FOLDER, "it has %lld bytes, its type and shape need %zu", static_cast<long long>(end - begin), bytes);
  }
  tensor.data = data + begin;
  tensor.bytes = bytes;
  return tensor;
}

void refuse_overlaps_and_holes(const std::string &path, std::vector<StoredTensor> tensors, const uint8_t *data,
                               size_t length) {
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor &a, const StoredTensor &b) {
    return a.data != b.data ? a.data < b.data : a.bytes < b.bytes;
  });
  const uint8_t *end = data;
  for (const StoredTensor &tensor : tensors) {
    if (tensor.data != end) {
      fail(INGOT_FOLDER, "%s: %s before tensor '%.200s', at byte %td of the data: the file is damaged, copy it again",
           path.c_str(), tensor.data < end ? "tensors overlap" : "a hole lies", tensor.name.c_str(),
           tensor.data - data);
    }
    end = tensor.data + tensor.bytes;
  }
  if (end != data + length) {
    fail(INGOT_FOLDER, "%s: %td bytes after the last tensor belong to none: the file is damaged, copy it again",
         path.c_str(), data + length - end);
  }
}

}  // namespace

Safetensors Safetensors::open(const std::string &path, MappedFile::Access access) {
  Safetensors result;
  result.file_ = MappedFile(path, access);
  const size_t size = result.file_.size();
  if (size < 8)
    fail(INGOT_FOLDER, "%s: %zu bytes are too few for a safetensors file; copy it again", path.c_str(), size);
  const uint64_t header = length_word(result.file_.data());
  if (header > header_limit || header > size - 8) {
    fail(INGOT_FOLDER, "%s: the header should have %llu bytes, the file has %zu; copy it again", path.c_str(),
         static_cast<unsigned long long>(header), size);
  }
  result.header_bytes_ = 8 + header;
  uint8_t *data = result.file_.data() + result.header_bytes_;
  const size_t length = size - result.header_bytes_;
  std::string name;
  try {
    const Json document = Json::parse(result.file_.text().substr(8, header));
    for (const Json::Member &member : document.as_object()) {
      name = member.name;
      if (name == "__metadata__") continue;
      result.tensors_.push_back(read_entry(name, member.value, data, length));
    }
  } catch (const Error &error) {
    const std::string where = name.empty() ? "header" : "tensor '" + name.substr(0, 200) + "'";
    fail(INGOT_FOLDER, "%s: %s: %.400s: the file is damaged, copy it again", path.c_str(), where.c_str(), error.what());
  }
  refuse_overlaps_and_holes(path, result.tensors_, data, length);
  return result;
}

const StoredTensor *Safetensors::find(std::string_view name) const {
  const auto found =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const StoredTensor &tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

}  // namespace ingot
