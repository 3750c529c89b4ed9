#include "device_tensor.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

constexpr uint8_t guard_byte = 0xA5, poison = 0xFF;  // 0xFF…: NaN in every type of floats, -1 in integers

}  // namespace

DeviceTensor::DeviceTensor(const OpenDevice &device, size_t bytes) : device_(device), bytes_(bytes) {
  void *memory = nullptr;
  device.check(device.api->allocate(device.self, bytes + 2 * guard, &memory));
  memory_ = static_cast<uint8_t *>(memory);
  device.check(device.api->fill(device.self, memory_, guard_byte, bytes + 2 * guard, nullptr));
  device.check(device.api->fill(device.self, memory_ + guard, poison, bytes, nullptr));
}

DeviceTensor::DeviceTensor(const OpenDevice &device, size_t bytes, const void *content) : DeviceTensor(device, bytes) {
  if (bytes) device.check(device.api->upload(device.self, data(), content, bytes, nullptr));
}

DeviceTensor::DeviceTensor(DeviceTensor &&other) noexcept
    : device_(other.device_), memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}

DeviceTensor::~DeviceTensor() { device_.api->release(device_.self, memory_); }

void DeviceTensor::download(void *to, const std::string &what) const {
  std::vector<uint8_t> all(bytes_ + 2 * guard);
  device_.check(device_.api->download(device_.self, all.data(), memory_, all.size(), nullptr));
  device_.check(device_.api->synchronize(device_.self, nullptr));
  for (size_t i = 0; i < guard; ++i) {
    if (all[guard - 1 - i] != guard_byte)
      fail(INGOT_FAILED, "a byte was written %zu bytes before the begin of %s", i + 1, what.c_str());
    if (all[guard + bytes_ + i] != guard_byte)
      fail(INGOT_FAILED, "a byte was written %zu bytes behind the end of %s", i, what.c_str());
  }
  if (bytes_) memcpy(to, all.data() + guard, bytes_);
}

}  // namespace ingot
