// Tensors on a device for a single op: bytes around each of them tell whether something else was written.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "engines/accelerator.h"

namespace ingot {

// Memory on the device between two guards, freed with its object.
class DeviceTensor {
 public:
  // Full of NaNs, whatever the type.
  DeviceTensor(const OpenDevice &device, size_t bytes);
  DeviceTensor(const OpenDevice &device, size_t bytes, const void *content);
  DeviceTensor(DeviceTensor &&) noexcept;
  ~DeviceTensor();

  void *data() const { return memory_ + guard; }
  size_t bytes() const { return bytes_; }

  // Waits, and copies the content to the host. Throws Error(INGOT_FAILED) that says `what` if a guard has changed.
  void download(void *to, const std::string &what) const;

 private:
  static constexpr size_t guard = 1024;
  const OpenDevice &device_;
  uint8_t *memory_ = nullptr;
  size_t bytes_;
};

}  // namespace ingot
