// A file mapped into memory, unmapped with its object. Opening touches no page of it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ingot {

class MappedFile {
 public:
  enum class Access { read, copy_on_write };  // copy_on_write: changes stay in this process

  MappedFile() = default;
  // Throws Error(INGOT_FOLDER) that names the file and the system's reason.
  explicit MappedFile(const std::string &path, Access access = Access::read);
  MappedFile(MappedFile &&) noexcept;
  MappedFile &operator=(MappedFile &&) noexcept;
  ~MappedFile();

  uint8_t *data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char *>(data_), size_}; }
  const std::string &path() const { return path_; }

 private:
  std::string path_;
  uint8_t *data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ingot
