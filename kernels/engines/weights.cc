#include "engines/weights.h"

#include <algorithm>
#include <cstring>

#include "engines/made_weight.h"
#include "error.h"
#include "ingot.h"
#include "ingot_op.h"

namespace ingot {
namespace {

// How weights.safetensors spells a type; 4-bit numbers lie there as U8 of half the last dimension.
const char *stored_type(int32_t dtype) {
  switch (dtype) {
    case INGOT_F32:
      return "F32";
    case INGOT_F16:
      return "F16";
    case INGOT_BF16:
      return "BF16";
    case INGOT_F8E4M3:
      return "F8_E4M3";
    case INGOT_F8E5M2:
      return "F8_E5M2";
    case INGOT_I8:
      return "I8";
    case INGOT_I32:
      return "I32";
    case INGOT_I64:
      return "I64";
    case INGOT_BOOL:
      return "BOOL";
    default:
      return "U8";
  }
}

std::string shape_text(const std::vector<int64_t> &shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

void check(const PlanValue &value, const StoredTensor &stored, const std::string &path) {
  std::vector<int64_t> wanted;
  for (const LinearForm &dim : value.dims) wanted.push_back(dim.constant);
  const bool packed = value.dtype == INGOT_U4 || value.dtype == INGOT_I4;
  if (packed && !wanted.empty()) wanted.back() = (wanted.back() + 1) / 2;
  if (stored.dtype == stored_type(value.dtype) && stored.shape == wanted &&
      stored.bytes == static_cast<size_t>(bytes_of(value, {})))
    return;
  fail(INGOT_FOLDER,
       "%s: tensor '%.200s' is %s %s, plan.txt wants %s %s: the two are not of one build; rebuild the engine, or copy "
       "the "
       "whole folder again",
       path.c_str(), value.name.c_str(), stored.dtype.c_str(), shape_text(stored.shape).c_str(),
       stored_type(value.dtype), shape_text(wanted).c_str());
}

bool is_stored(const PlanValue &value) { return value.role == PlanRole::weight && value.made.parts.empty(); }

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

void make_on(const Accelerator &accelerator, const PlanValue &value, void *to) {
  const MadeWeight &made = value.made;
  const IngotDeviceApi &api = *accelerator.api;
  if (!(made.quantized ? api.random_codes != nullptr : api.random != nullptr)) {
    fail(INGOT_MACHINE, "the device %s cannot make the random weight '%.200s'; install the library of this version",
         api.name, value.name.c_str());
  }
  const auto count = static_cast<int32_t>(made.parts.size());
  accelerator.check(made.quantized ? api.random_codes(accelerator.self, made.parts.data(), count, &made.how, to)
                                   : api.random(accelerator.self, made.parts.data(), count, value.dtype, to));
}

}  // namespace

Weights::Weights(const Plan &plan, const std::string &directory, const Accelerator &accelerator)
    : accelerator_(accelerator), places_(plan.values.size(), nullptr) {
  const std::string path = directory + "/weights.safetensors";
  if (std::any_of(plan.values.begin(), plan.values.end(), is_stored)) file_ = Safetensors::open(path);
  for (size_t i = 0; i < plan.values.size(); ++i) {
    const PlanValue &value = plan.values[i];
    if (value.role != PlanRole::weight) continue;
    if (!is_stored(value)) {
      const auto bytes = static_cast<size_t>(bytes_of(value, {}));
      bytes_ += static_cast<int64_t>(bytes);
      used_.push_back({value.name, nullptr, bytes});
      continue;
    }
    const StoredTensor *stored = file_.find(value.name);
    if (!stored) {
      fail(INGOT_FOLDER,
           "%s has no tensor '%.200s', which plan.txt uses: the two are not of one build; rebuild the engine, or copy "
           "the "
           "whole folder again",
           path.c_str(), value.name.c_str());
    }
    check(value, *stored, path);
    places_[i] = stored->data;
    bytes_ += static_cast<int64_t>(stored->bytes);
    used_.push_back({stored->name, stored->data, stored->bytes});
  }
  if (accelerator) {
    move_to(plan, accelerator);
  } else {
    make_here(plan);
  }
  std::sort(used_.begin(), used_.end(), [](const Used &a, const Used &b) { return a.name < b.name; });
}

// One block holds all of them, each at a multiple of 256 bytes; the file is let go.
void Weights::move_to(const Plan &plan, const Accelerator &accelerator) {
  size_t total = 0;
  for (const Used &weight : used_) total += aligned(weight.bytes);
  memory_ = DeviceMemory(accelerator, total);
  uint8_t *place = memory_.data();
  size_t next = 0;  // used_ and the plan's weights are in the same order
  for (size_t i = 0; i < plan.values.size(); ++i) {
    if (plan.values[i].role != PlanRole::weight) continue;
    Used &weight = used_[next++];
    if (is_stored(plan.values[i])) {
      accelerator.check(accelerator.api->load(accelerator.self, place, weight.data, weight.bytes));
    } else {
      make_on(accelerator, plan.values[i], place);
    }
    places_[i] = weight.data = place;
    place += aligned(weight.bytes);
  }
  accelerator.check(accelerator.api->synchronize(accelerator.self, nullptr));
  file_ = {};
}

void Weights::make_here(const Plan &plan) {
  size_t total = 0;
  for (const Used &weight : used_) total += weight.data ? 0 : aligned(weight.bytes);
  made_ = Arena(static_cast<int64_t>(total));
  uint8_t *place = made_.data();
  size_t next = 0;  // used_ and the plan's weights are in the same order
  for (size_t i = 0; i < plan.values.size(); ++i) {
    const PlanValue &value = plan.values[i];
    if (value.role != PlanRole::weight) continue;
    Used &weight = used_[next++];
    if (is_stored(value)) continue;
    make_weight(value.made, value.dtype, place);
    places_[i] = weight.data = place;
    place += aligned(weight.bytes);
  }
}

void Weights::refit(const std::string &name, const void *data, size_t bytes) {
  const auto found =
      std::lower_bound(used_.begin(), used_.end(), name,
                       [](const Used &weight, const std::string &wanted) { return weight.name < wanted; });
  if (found == used_.end() || found->name != name)
    fail(INGOT_INVALID, "refit: the engine has no weight '%.200s'", name.c_str());
  if (found->bytes != bytes) {
    fail(INGOT_INVALID, "refit: weight '%.200s' has %zu bytes, %zu were given", name.c_str(), found->bytes, bytes);
  }
  if (!accelerator_) {
    std::memcpy(found->data, data, bytes);
    return;
  }
  accelerator_.check(accelerator_.api->upload(accelerator_.self, found->data, data, bytes, nullptr));
  accelerator_.check(accelerator_.api->synchronize(accelerator_.self, nullptr));
}

}  // namespace ingot
