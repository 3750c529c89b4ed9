#include "files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr size_t huge_from = 64 << 20;  // bytes

}  // namespace

MappedFile::MappedFile(const std::string &path, Access access) : path_(path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(INGOT_FOLDER, "%s cannot be opened: %s", path.c_str(), std::strerror(errno));
  struct stat facts;
  if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
    ::close(file);
    fail(INGOT_FOLDER, "%s is not a file", path.c_str());
  }
  size_ = static_cast<size_t>(facts.st_size);
  if (size_ > 0) {
    const int protection = access == Access::read ? PROT_READ : PROT_READ | PROT_WRITE;
    void *mapping = mmap(nullptr, size_, protection, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    const int reason = errno;
    ::close(file);
    if (mapping == MAP_FAILED) {
      fail(INGOT_MACHINE, "%s (%zu bytes) cannot be mapped: %s", path.c_str(), size_, std::strerror(reason));
    }
    data_ = static_cast<uint8_t *>(mapping);
    // Where the file system can, pages of 2 MiB: reading many weights then waits for fewer translations.
    if (size_ > huge_from) madvise(mapping, size_, MADV_HUGEPAGE);
  } else {
    ::close(file);
  }
}

MappedFile::MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
}

}  // namespace ingot
