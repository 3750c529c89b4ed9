// An input of the fuzzer as a file that exists in memory only.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

class InputFile {
 public:
  InputFile() : file_(memfd_create("input", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(file_)) {
    if (file_ < 0) std::abort();
  }
  InputFile(const InputFile &) = delete;
  InputFile &operator=(const InputFile &) = delete;
  ~InputFile() { close(file_); }

  // The file now holds `bytes` bytes of `data`, and zeros up to `whole`.
  void hold(const void *data, size_t bytes, size_t whole = 0) const {
    const bool done = ftruncate(file_, 0) == 0 && pwrite(file_, data, bytes, 0) == static_cast<ssize_t>(bytes) &&
                      (whole <= bytes || ftruncate(file_, static_cast<off_t>(whole)) == 0);
    if (!done) std::abort();
  }
  const std::string &path() const { return path_; }

 private:
  int file_;
  std::string path_;
};
