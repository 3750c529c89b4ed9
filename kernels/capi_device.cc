// The functions of ingot.h about accelerators: which there are, and one op by itself on one.
#include <algorithm>
#include <cstddef>
#include <string>

#include "capi_boundary.h"
#include "device_op.h"
#include "engines/accelerator.h"
#include "engines/device_library.h"
#include "error.h"
#include "files/json_writer.h"
#include "ingot.h"
#include "single_op.h"

using namespace ingot;

namespace {

std::string version_text(int32_t version) {  // 13000: 13.0
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string device_json(const std::string &engine, int32_t ordinal, const IngotDeviceInfo &info) {
  JsonWriter entry('{');
  entry.string("engine", engine).number("ordinal", ordinal).string("name", info.name);
  entry.number("sm", info.sm).number("sm_count", info.sm_count);
  entry.string("driver", version_text(info.driver)).string("runtime", version_text(info.runtime));
  entry.number("memory_bytes", info.memory_bytes).number("free_bytes", info.free_bytes);
  return entry.json();
}

std::string devices_json(const std::string &engine) {
  JsonWriter list('[');
  std::string why;
  char reason[1024] = "";
  const IngotDeviceApi *api = find_device(engine, &why);
  const int32_t count = api ? api->count(reason, sizeof reason) : 0;
  if (api) why = reason;
  bool any = false;
  for (int32_t i = 0; i < count; ++i) {
    IngotDeviceInfo info{};
    if (api->info(i, &info, reason, sizeof reason)) {
      why = reason;
    } else {
      any = true;
      list.raw("", device_json(engine, i, info));
    }
  }
  return JsonWriter('{').raw("devices", list.json()).string("why", any ? "" : why).json();
}

}  // namespace

extern "C" {

char *ingot_devices(void) {
  char *json = nullptr;
  guarded([&] { json = owned(devices_json("cuda")); });
  return json;
}

int ingot_measure_on(const char *device, int32_t ordinal, const char *kind, double seconds, double *result) {
  return guarded([&] {
    if (!device || !kind || !result) fail(INGOT_INVALID, "ingot_measure_on: the device, kind or result is NULL");
    if (std::string(kind) != "read")
      fail(INGOT_INVALID, "ingot_measure_on: '%.40s' is unknown; it measures: read", kind);
    if (!(seconds >= 0 && seconds <= 3600)) fail(INGOT_INVALID, "seconds is %g; it must be from 0 to 3600", seconds);
    std::string why;
    const IngotDeviceApi *api = find_device(device, &why);
    if (!api) fail(INGOT_MACHINE, "%s", why.c_str());
    if (!api->read_rate) fail(INGOT_MACHINE, "the device %.40s cannot be measured", device);
    const OpenDevice open(api, ordinal);
    open.check(api->read_rate(open.self, seconds, result));
  });
}

int ingot_run_op_on(const char *line, const char *library, IngotDeviceRun *run, const IngotArray *in, int32_t n_in,
                    IngotArray *out, int32_t n_out) {
  return guarded([&] {
    if (!line || !run || (n_in && !in) || (n_out && !out))
      fail(INGOT_INVALID, "ingot_run_op_on: the line, the run or an array is NULL");
    if (run->size < offsetof(IngotDeviceRun, chosen) + sizeof run->chosen)
      fail(INGOT_INVALID, "ingot_run_op_on: the run is of %u bytes, shorter than its first version", run->size);
    SingleOp single(line, library, in, n_in, n_out);
    DeviceOpOptions options;
    std::string why;
    options.device = find_device(run->device ? run->device : "", &why);
    if (!options.device) fail(INGOT_MACHINE, "%s", why.c_str());
    options.ordinal = run->ordinal;
    options.kernel = run->kernel ? run->kernel : "";
    options.tactic = run->tactic;
    options.repeat = std::clamp(run->repeat, 0, 1 << 20);
    const DeviceOpResult result = run_on_device(single, options, single.outputs_of(out, n_out));
    run->tactics = result.tactics;
    run->seconds = result.seconds;
    snprintf(run->chosen, sizeof run->chosen, "%s", result.kernel.c_str());
  });
}

}  // extern "C"
