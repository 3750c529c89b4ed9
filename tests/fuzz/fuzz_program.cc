// A whole plan opened by the CPU engine: weights found, ops looked up, shapes worked out, kernels created, memory laid
// out, pools bound. Nothing is run: sums find damage, and whoever writes a plan may read what a step can.
//
// weights.safetensors is written for each plan as it asks, so that changed sizes get further than "not of one build".
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engines/interpreter.h"
#include "engines/plan.h"
#include "files/json_writer.h"
#include "ingot_op.h"
#include "input_file.h"
#include "ops/host.h"
#include "refusal.h"

using namespace ingot;

namespace {

constexpr size_t most_weights = size_t{1} << 26;  // bytes; most of them are never touched

struct Folder {
  std::string path = (std::filesystem::temp_directory_path() / "ingot_fuzz_XXXXXX").string();
  InputFile plan, weights;

  Folder() {
    if (!mkdtemp(path.data())) std::abort();
    std::filesystem::create_symlink(plan.path(), path + "/plan.txt");
    std::filesystem::create_symlink(weights.path(), path + "/weights.safetensors");
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

const char *stored_type(int32_t dtype) {
  static constexpr struct {
    int32_t dtype;
    const char *name;
  } types[] = {{INGOT_F32, "F32"},        {INGOT_F16, "F16"},        {INGOT_BF16, "BF16"},
               {INGOT_F8E4M3, "F8_E4M3"}, {INGOT_F8E5M2, "F8_E5M2"}, {INGOT_I8, "I8"},
               {INGOT_I32, "I32"},        {INGOT_I64, "I64"},        {INGOT_BOOL, "BOOL"}};
  for (const auto &type : types) {
    if (type.dtype == dtype) return type.name;
  }
  return "U8";
}

// False if the plan asks for more than fits here.
bool write_weights(const Plan &plan, const InputFile &file) {
  JsonWriter header('{');
  size_t end = 0;
  for (const PlanValue &value : plan.values) {
    if (value.role != PlanRole::weight) continue;
    JsonWriter entry('{'), shape('['), offsets('[');
    const bool packed = value.dtype == INGOT_U4 || value.dtype == INGOT_I4;
    for (size_t i = 0; i < value.dims.size(); ++i) {
      const int64_t size = value.dims[i].constant;
      shape.number("", packed && i + 1 == value.dims.size() ? (size + 1) / 2 : size);
    }
    const auto begin = static_cast<int64_t>(end);
    end += static_cast<size_t>(bytes_of(value, {}));
    if (end > most_weights) return false;
    offsets.number("", begin).number("", static_cast<int64_t>(end));
    entry.string("dtype", stored_type(value.dtype)).raw("shape", shape.json()).raw("data_offsets", offsets.json());
    header.raw(value.name, entry.json());
  }
  const std::string text = header.json();
  std::string file_text;
  for (int i = 0; i < 8; ++i) file_text += static_cast<char>(text.size() >> (8 * i));
  file_text += text;
  file.hold(file_text.data(), file_text.size(), file_text.size() + end);
  return true;
}

int keep_nothing(IngotCtx *, const char *, ...) { return 1; }
void log_nothing(IngotCtx *, int, const char *, ...) {}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const Folder folder;
  folder.plan.hold(data, size);
  const bool whole = accepts([&] {
    const Plan plan = parse_plan({reinterpret_cast<const char *>(data), size}, "plan.txt");
    if (!plan.libraries.empty() || !write_weights(plan, folder.weights)) throw Error(1, "not for this fuzzer");
  });
  if (!whole) return 0;
  IngotHost host{};
  host.size = offsetof(IngotHost, node_name);
  host.error = keep_nothing;
  host.log = log_nothing;
  IngotCtx ctx{};
  ctx.size = sizeof ctx;
  ctx.device = INGOT_CPU;
  ctx.ranks = 1;
  ctx.host = &host;
  const IngotEngineOptions options{sizeof options, folder.path.c_str(), &ctx, 1, "auto"};
  const IngotEngineApi *api = cpu_engine();
  void *engine = nullptr;
  if (api->open(&options, &engine)) return 0;
  const IngotEngineSpec *spec = api->spec(engine);
  std::vector<std::vector<void *>> places(static_cast<size_t>(spec->n_groups));
  std::vector<void *const *> pools;
  const std::vector<int32_t> pages(places.size(), 3);
  for (int32_t g = 0; g < spec->n_groups; ++g) {
    auto &place = places[static_cast<size_t>(g)];
    place.assign(static_cast<size_t>(spec->groups[g].n_tensors), &place);
    pools.push_back(place.data());
  }
  const IngotPools given{sizeof given, spec->n_groups, pages.data(), pools.data()};
  api->bind(engine, &given);
  api->close(engine);
  return 0;
}
