// An accelerator as the engine and the runtime use it: calls that throw, memory that is freed with its object.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "error.h"
#include "ingot.h"
#include "ingot_device.h"
#include "ops/host.h"

namespace ingot {

// An open device, closed with its object. Its context serves kernels; errors are recorded in `state`.
class OpenDevice {
 public:
  // Throws Error(INGOT_MACHINE) with the reason why it cannot be opened.
  OpenDevice(const IngotDeviceApi *api, int32_t ordinal);
  ~OpenDevice() { api->close(self); }
  OpenDevice(const OpenDevice &) = delete;
  OpenDevice &operator=(const OpenDevice &) = delete;

  // Throws Error(INGOT_FAILED) with what the device recorded, if status is not 0.
  void check(int status) const;

  const IngotDeviceApi *api;
  void *self = nullptr;
  HostState state;
  IngotCtx ctx;
};

// What a context says of its device, whose owner is a HostState where there is one. Empty: the CPU.
struct Accelerator {
  const IngotDeviceApi *api = nullptr;
  void *self = nullptr;
  const IngotCtx *ctx = nullptr;

  Accelerator() = default;
  explicit Accelerator(const IngotCtx &ctx) : api(ctx.accelerator), self(ctx.accelerator_self), ctx(&ctx) {}
  explicit operator bool() const { return api != nullptr; }

  // Throws Error with what the device recorded, if `status` is not 0.
  void check(int status, int kind = INGOT_FAILED) const {
    if (!status) return;
    const std::string &sentence = static_cast<const HostState *>(ctx->owner)->error;
    fail(kind, "%s", sentence.empty() ? "the device failed and said nothing" : sentence.c_str());
  }
};

// Memory of an accelerator, or of the host where the accelerator can reach it. Contents are undefined.
class DeviceMemory {
 public:
  enum class Kind { device, pinned };

  DeviceMemory() = default;
  // Throws Error(INGOT_MACHINE).
  DeviceMemory(const Accelerator &accelerator, size_t bytes, Kind kind = Kind::device);
  DeviceMemory(DeviceMemory &&other) noexcept { *this = std::move(other); }
  DeviceMemory &operator=(DeviceMemory &&other) noexcept;
  ~DeviceMemory();

  template <typename T = uint8_t>
  T *data() const {
    return static_cast<T *>(data_);
  }
  size_t bytes() const { return bytes_; }

  // In stream order.
  void fill(int32_t byte) const;
  // In stream order; `from` may change when it returns, unless it is pinned.
  void upload(size_t offset, const void *from, size_t bytes) const;

 private:
  Accelerator accelerator_;
  void *data_ = nullptr;
  size_t bytes_ = 0;
  Kind kind_ = Kind::device;
};

// A place in the order of a stream. Empty: there is none.
class DeviceEvent {
 public:
  DeviceEvent() = default;
  // Throws Error(INGOT_FAILED).
  explicit DeviceEvent(const Accelerator &accelerator);
  DeviceEvent(DeviceEvent &&other) noexcept { *this = std::move(other); }
  DeviceEvent &operator=(DeviceEvent &&other) noexcept;
  ~DeviceEvent();

  void record() const;
  // The host waits until what was enqueued before record() has run.
  void wait() const;
  // Seconds from there to `end`; both have passed.
  double seconds_until(const DeviceEvent &end) const;

 private:
  Accelerator accelerator_;
  void *event_ = nullptr;
};

}  // namespace ingot
