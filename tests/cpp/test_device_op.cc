// One op by itself on a device: what it is given, and which faults of a kernel
// are seen. The device is host memory.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "device_op.h"
#include "small_folder.h"

using namespace ingot;

namespace {

constexpr float nothing = 0;  // a `self`, a graph, an event: anything but NULL
void *something() { return const_cast<float *>(&nothing); }

int32_t one(char *, size_t) { return 1; }
int32_t none(char *why, size_t n) {
  snprintf(why, n, "no driver is loaded");
  return 0;
}

int open(int32_t ordinal, IngotCtx *ctx, void **self) {
  if (ordinal != 0) return ctx->host->error(ctx, "there is no GPU %d", ordinal);
  ctx->device = INGOT_CUDA;
  ctx->sm = 90;
  *self = something();
  return 0;
}

int allocate(void *, size_t bytes, void **memory) { return (*memory = malloc(bytes)) ? 0 : 1; }
int copy(void *, void *to, const void *from, size_t bytes, void *) { return memcpy(to, from, bytes) ? 0 : 1; }
int fill(void *, void *to, int32_t byte, size_t bytes, void *) { return memset(to, byte, bytes) ? 0 : 1; }
int synchronize(void *, void *) { return 0; }
int make(void *, void **made) { return (*made = something()) ? 0 : 1; }
int begin(void *) { return 0; }
void forget(void *, void *) {}
int record(void *, void *, void *) { return 0; }
int use(void *, void *) { return 0; }
int elapsed(void *, void *, void *, double *seconds) {
  *seconds = 64;
  return 0;
}

const float *x_of(const IngotCall *call) { return static_cast<const float *>(call->in[0].data); }
float *y_of(const IngotCall *call) { return static_cast<float *>(call->out[0].data); }

int square(void *, const IngotCall *call, int32_t tactic, IngotCtx *) {
  for (int64_t i = 0; i < call->in[0].shape[0]; ++i)
    y_of(call)[i] = x_of(call)[i] * x_of(call)[i] + static_cast<float>(tactic);
  return 0;
}
int leave(void *, const IngotCall *, int32_t, IngotCtx *) { return 0; }
int beyond(void *, const IngotCall *call, int32_t, IngotCtx *) { return y_of(call)[call->in[0].shape[0]] = 1, 0; }
int before(void *, const IngotCall *call, int32_t, IngotCtx *) { return y_of(call)[-1] = 1, 0; }
int touch(void *, const IngotCall *call, int32_t, IngotCtx *) { return const_cast<float *>(x_of(call))[0] = 9, 0; }
int scratch(void *, const IngotCall *, int32_t, IngotCtx *ctx) {
  static_cast<char *>(ctx->workspace)[ctx->workspace_bytes] = 1;
  return 0;
}
int refuse(void *, const IngotCall *, int32_t, IngotCtx *ctx) { return ctx->host->error(ctx, "the launch failed"); }
size_t eight(const IngotNode *, const int64_t *) { return 8; }
int32_t two(const IngotNode *, const int64_t *) { return 2; }

constexpr IngotKernel of_relu[] = {
    {"square", INGOT_CUDA, 80, 0, INGOT_CAPTURABLE, {}, {}, eight, two, {}, {}, square, {}},
    {"old", INGOT_CUDA, 0, 75, 0, {}, {}, {}, {}, {}, {}, square, {}},
    {"leave", INGOT_CUDA, 0, 0, 0, {}, {}, {}, {}, {}, {}, leave, {}},
    {"beyond", INGOT_CUDA, 0, 0, 0, {}, {}, {}, {}, {}, {}, beyond, {}},
    {"before", INGOT_CUDA, 0, 0, 0, {}, {}, {}, {}, {}, {}, before, {}},
    {"touch", INGOT_CUDA, 0, 0, 0, {}, {}, {}, {}, {}, {}, touch, {}},
    {"scratch", INGOT_CUDA, 0, 0, 0, {}, {}, eight, {}, {}, {}, scratch, {}},
    {"refuse", INGOT_CUDA, 0, 0, 0, {}, {}, {}, {}, {}, {}, refuse, {}}};
constexpr IngotOpKernels sets[] = {{"", "Exp", of_relu, 1}, {"", "Relu", of_relu, 8}};

const IngotOpKernels *kernels(int32_t *count) { return *count = 2, sets; }

constexpr IngotDeviceApi device_of(int32_t (*count)(char *, size_t)) {
  IngotDeviceApi api{};
  api.size = sizeof api;
  api.abi = INGOT_DEVICE_ABI;
  api.name = "cuda";
  api.count = count;
  api.open = open;
  api.close = [](void *) {};
  api.allocate = allocate;
  api.release = [](void *, void *memory) { free(memory); };
  api.upload = api.download = copy;
  api.fill = fill;
  api.synchronize = synchronize;
  api.create_event = api.capture_end = make;
  api.destroy_event = api.destroy_graph = forget;
  api.capture_begin = begin;
  api.record = record;
  api.wait_for = api.launch = use;
  api.elapsed = elapsed;
  api.kernels = kernels;
  return api;
}

constexpr IngotDeviceApi device = device_of(one), missing = device_of(none);

struct Given {
  std::vector<float> x{1, 2, 3}, y{0, 0, 0};
  bool in_place = false;

  DeviceOpResult run(DeviceOpOptions options, const char *line = "op n ::Relu in=x out=y") {
    if (!options.device) options.device = &device;
    const IngotArray in{x.data(), {3}, INGOT_F32, 1}, out{in_place ? x.data() : y.data(), {3}, INGOT_F32, 1};
    SingleOp single(line, nullptr, &in, 1, 1);
    return run_on_device(single, options, single.outputs_of(&out, 1));
  }
};

DeviceOpOptions by(const char *kernel, int32_t tactic = 0) {
  DeviceOpOptions options;
  options.kernel = kernel;
  options.tactic = tactic;
  return options;
}

// The kernels of the device run, the first that supports the node or the one
// that is named, and get the tactic.
void runs() {
  Given given;
  const DeviceOpResult result = given.run({});
  assert(result.kernel == "square" && result.tactics == 2 && result.seconds == 0);
  assert((given.y == std::vector<float>{1, 4, 9}));
  given.run(by("square", 1));
  assert((given.y == std::vector<float>{2, 5, 10}) && (given.x == std::vector<float>{1, 2, 3}));
}

// What a kernel leaves alone is NaN, not what the caller's array held.
void poisons() {
  Given given;
  given.run(by("leave"));
  for (const float y : given.y) assert(y != y);
}

// An output whose array is an input's is that input.
void in_place() {
  Given given;
  given.in_place = true;
  given.run({});
  assert((given.x == std::vector<float>{1, 4, 9}));
}

// The median of graphs, over the calls in one: 64 calls here, as 64 copies of
// so few bytes are made.
void times() {
  Given given;
  DeviceOpOptions options;
  options.repeat = 3;
  assert(given.run(options).seconds == 1);
  options.kernel = "leave";  // not to be captured
  assert(given.run(options).seconds == 1);
}

void refuses() {
  Given given;
  assert(contains(refusal([&] { given.run(by("beyond")); }),
                  "a byte was written 0 bytes behind the end of output 0 of "
                  "Relu by its kernel beyond"));
  assert(contains(refusal([&] { given.run(by("before")); }), "bytes before the begin of output 0"));
  assert(contains(refusal([&] { given.run(by("touch")); }), "input 0 of Relu by its kernel touch has changed"));
  assert(contains(refusal([&] { given.run(by("scratch")); }), "0 bytes behind the end of workspace"));
  assert(contains(refusal([&] { given.run(by("refuse")); }), "the launch failed"));
  assert(contains(refusal([&] { given.run(by("old")); }), "this GPU is not one"));
  assert(contains(refusal([&] { given.run(by("none")); }), "has no kernel 'none'"));
  assert(contains(refusal([&] { given.run(by("square", 2)); }), "tactic 2 is asked for, its kernel square has 2"));
  assert(contains(refusal([&] { given.run({}, "op n ::Neg in=x out=y"); }), "Neg on cuda: it has no kernel"));
  DeviceOpOptions options;
  options.ordinal = 1;
  assert(contains(refusal([&] { given.run(options); }), "there is no GPU 1"));
  options.device = &missing;
  assert(contains(refusal([&] { given.run(options); }), "no driver is loaded"));
}

}  // namespace

int main() {
  runs();
  poisons();
  in_place();
  times();
  refuses();
}
