#include "engines/accelerator.h"

namespace ingot {

OpenDevice::OpenDevice(const IngotDeviceApi *api, int32_t ordinal) : api(api), ctx(host_context(state)) {
  char reason[1024] = "";
  if (api->count(reason, sizeof reason) == 0) fail(INGOT_MACHINE, "%s", reason);
  if (api->open(ordinal, &ctx, &self)) fail(INGOT_MACHINE, "%s", state.error.c_str());
  ctx.accelerator = api;
  ctx.accelerator_self = self;
}

void OpenDevice::check(int status) const { Accelerator(ctx).check(status); }

DeviceMemory::DeviceMemory(const Accelerator &accelerator, size_t bytes, Kind kind)
    : accelerator_(accelerator), bytes_(bytes), kind_(kind) {
  if (bytes == 0) return;
  const auto allocate = kind == Kind::device ? accelerator.api->allocate : accelerator.api->allocate_pinned;
  accelerator.check(allocate(accelerator.self, bytes, &data_), INGOT_MACHINE);
}

DeviceMemory &DeviceMemory::operator=(DeviceMemory &&other) noexcept {
  std::swap(accelerator_, other.accelerator_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(kind_, other.kind_);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (!data_) return;
  const auto release = kind_ == Kind::device ? accelerator_.api->release : accelerator_.api->release_pinned;
  release(accelerator_.self, data_);
}

void DeviceMemory::fill(int32_t byte) const {
  if (data_) accelerator_.check(accelerator_.api->fill(accelerator_.self, data_, byte, bytes_, nullptr));
}

void DeviceMemory::upload(size_t offset, const void *from, size_t bytes) const {
  accelerator_.check(accelerator_.api->upload(accelerator_.self, data() + offset, from, bytes, nullptr));
}

DeviceEvent::DeviceEvent(const Accelerator &accelerator) : accelerator_(accelerator) {
  accelerator.check(accelerator.api->create_event(accelerator.self, &event_));
}

DeviceEvent &DeviceEvent::operator=(DeviceEvent &&other) noexcept {
  std::swap(accelerator_, other.accelerator_);
  std::swap(event_, other.event_);
  return *this;
}

DeviceEvent::~DeviceEvent() {
  if (event_) accelerator_.api->destroy_event(accelerator_.self, event_);
}

void DeviceEvent::record() const { accelerator_.check(accelerator_.api->record(accelerator_.self, event_, nullptr)); }

void DeviceEvent::wait() const { accelerator_.check(accelerator_.api->wait_for(accelerator_.self, event_)); }

double DeviceEvent::seconds_until(const DeviceEvent &end) const {
  double seconds = 0;
  accelerator_.check(accelerator_.api->elapsed(accelerator_.self, event_, end.event_, &seconds));
  return seconds;
}

}  // namespace ingot
