#include "device_op.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "device_tensor.h"
#include "error.h"
#include "ops/binding.h"
#include "ops/dtype.h"
#include "ops/kernel_choice.h"

namespace ingot {
namespace {

constexpr size_t rotated_bytes = size_t{256} << 20;
constexpr size_t most_copies = 64, least_calls = 32;  // of a graph

size_t bytes_of(const IngotTensor &tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor.rank; ++i) count *= tensor.shape[i];
  return static_cast<size_t>(bytes_of_elements(tensor.dtype, count));
}

// The op with the device's kernels alone.
class DeviceRow {
 public:
  DeviceRow(const OpenDevice &device, const IngotOp &op) : op_(op) {
    int32_t count = 0;
    const IngotOpKernels *sets = device.api->kernels(&count);
    for (const IngotOpKernels &set : std::span(sets, static_cast<size_t>(count))) {
      if (std::string_view(set.domain) != op.domain || std::string_view(set.name) != op.name) continue;
      kernels_.insert(kernels_.end(), set.kernels, set.kernels + set.n_kernels);
    }
    for (const IngotKernel &kernel : std::span(op.kernels, static_cast<size_t>(op.n_kernels))) {
      if (kernel.device == device.ctx.device) kernels_.push_back(kernel);
    }
    op_.kernels = kernels_.data();
    op_.n_kernels = static_cast<int32_t>(kernels_.size());
  }
  const IngotOp &op() const { return op_; }

 private:
  IngotOp op_;
  std::vector<IngotKernel> kernels_;
};

// One copy of all tensors, and what the kernel keeps for it.
struct Copy {
  IngotNode node;
  std::vector<std::unique_ptr<DeviceTensor>> in, out;  // NULL: absent, on the host, or one of the inputs
  std::shared_ptr<void> self;
  IngotCall call{};
};

class Run {
 public:
  Run(SingleOp &single, const DeviceOpOptions &options, std::span<const IngotTensor> outputs)
      : device_(options.device, options.ordinal), single_(single), options_(options), outputs_(outputs) {
    infer(single.node, nullptr, single.in, single.out, &words_);
    single.check_outputs(outputs);
    row_ = std::make_unique<DeviceRow>(device_, *single.node.op);
    add_copy();
    choose_kernel();
    create(copies_.front());
  }
  ~Run() { device_.api->synchronize(device_.self, nullptr); }

  DeviceOpResult result() {
    DeviceOpResult result{kernel_->name, tactics_, 0};
    enqueue(copies_.front());
    device_.check(device_.api->synchronize(device_.self, nullptr));
    check_inputs();
    download();
    if (options_.repeat > 0) result.seconds = time();
    return result;
  }

 private:
  bool on_host(size_t input) const {
    const IngotOp &op = *single_.node.op;
    const IngotArg *argument = argument_at(op.in, op.n_in, input);
    return argument && argument->role == INGOT_HOST;
  }

  // Which input output i takes the place of; -1: none.
  int input_of(size_t i) const {
    for (size_t j = 0; outputs_[i].data && j < single_.in.size(); ++j) {
      if (single_.in[j].dtype && single_.in[j].data == outputs_[i].data) return static_cast<int>(j);
    }
    return -1;
  }

  Copy &add_copy() {
    Copy &copy = copies_.emplace_back();
    copy.node = single_.node;
    copy.node.op = &row_->op();
    copy.node.inputs = single_.in;
    copy.node.outputs.assign(outputs_.begin(), outputs_.end());
    for (size_t i = 0; i < single_.in.size(); ++i) {
      copy.in.emplace_back();
      IngotTensor &tensor = copy.node.inputs[i];
      if (!tensor.dtype || on_host(i)) continue;
      copy.in[i] = std::make_unique<DeviceTensor>(device_, bytes_of(tensor), tensor.data);
      tensor.data = copy.in[i]->data();
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      copy.out.emplace_back();
      IngotTensor &tensor = copy.node.outputs[i];
      if (!tensor.dtype) continue;
      if (const int input = input_of(i); input >= 0) {
        tensor.data = copy.node.inputs[static_cast<size_t>(input)].data;
        continue;
      }
      copy.out[i] = std::make_unique<DeviceTensor>(device_, bytes_of(tensor));
      tensor.data = copy.out[i]->data();
    }
    copy.call = {copy.node.inputs.data(), copy.node.outputs.data(), static_cast<int32_t>(copy.node.inputs.size()),
                 static_cast<int32_t>(copy.node.outputs.size()), words_.data()};
    return copy;
  }

  void choose_kernel() {
    const IngotNode &node = copies_.front().node;
    std::string why;
    kernel_ = options_.kernel.empty() ? choose(node, device_.ctx, "auto", &why)
                                      : kernel_named(node, device_.ctx, options_.kernel, &why);
    if (!kernel_) fail(INGOT_INVALID, "%s on %s: %s", node.op->name, options_.device->name, why.c_str());
    if (kernel_->prepare) fail(INGOT_INVALID, "%s: its kernel %s works in a step only", node.op->name, kernel_->name);
    for (int32_t i = 0; kernel_->layout && i < static_cast<int32_t>(node.inputs.size()); ++i) {
      const char *layout = kernel_->layout(&node, i);
      if (layout && std::string_view(layout) != "row") {
        fail(INGOT_INVALID, "%s: its kernel %s wants input %d packed as %s, which is not done for a single op",
             node.op->name, kernel_->name, i, layout);
      }
    }
    tactics_ = kernel_->tactics ? kernel_->tactics(&node, words_.data()) : 0;
    if (options_.tactic < 0 || options_.tactic >= std::max(tactics_, 1)) {
      fail(INGOT_INVALID, "%s: tactic %d is asked for, its kernel %s has %d for these sizes", node.op->name,
           options_.tactic, kernel_->name, tactics_);
    }
    if (!kernel_->workspace) return;
    device_.ctx.workspace_bytes = kernel_->workspace(&node, words_.data());
    workspace_ = std::make_unique<DeviceTensor>(device_, device_.ctx.workspace_bytes);
    device_.ctx.workspace = workspace_->data();
  }

  void create(Copy &copy) {
    if (!kernel_->create) return;
    void *self = nullptr;
    check_status(kernel_->create(&copy.node, &device_.ctx, &self), device_.state, INGOT_INVALID);
    copy.self = std::shared_ptr<void>(self, kernel_->destroy ? kernel_->destroy : [](void *) {});
  }

  void enqueue(Copy &copy) {
    check_status(kernel_->enqueue(copy.self.get(), &copy.call, options_.tactic, &device_.ctx), device_.state,
                 INGOT_FAILED);
  }

  std::string name(const char *what, size_t i) const {
    return std::string(what) + " " + std::to_string(i) + " of " + single_.node.op->name + " by its kernel " +
           kernel_->name;
  }

  void check_inputs() const {
    const Copy &copy = copies_.front();
    std::vector<uint8_t> found;
    for (size_t i = 0; i < copy.in.size(); ++i) {
      if (!copy.in[i]) continue;
      found.resize(copy.in[i]->bytes());
      copy.in[i]->download(found.data(), name("input", i));
      const bool changes = std::any_of(copy.node.outputs.begin(), copy.node.outputs.end(), [&](const IngotTensor &out) {
        return out.dtype && out.data == copy.node.inputs[i].data;
      });
      if (!changes && !found.empty() && memcmp(found.data(), single_.in[i].data, found.size()) != 0) {
        fail(INGOT_FAILED, "%s has changed", name("input", i).c_str());
      }
    }
    if (!workspace_) return;
    found.resize(workspace_->bytes());
    workspace_->download(found.data(), name("workspace", 0));
  }

  void download() const {
    const Copy &copy = copies_.front();
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (!outputs_[i].dtype) continue;
      const int input = input_of(i);
      const DeviceTensor &tensor = input >= 0 ? *copy.in[static_cast<size_t>(input)] : *copy.out[i];
      tensor.download(outputs_[i].data, name("output", i));
    }
  }

  size_t copy_bytes() const {
    size_t bytes = 0;
    for (const auto *tensors : {&copies_.front().in, &copies_.front().out}) {
      for (const auto &tensor : *tensors) bytes += tensor ? tensor->bytes() : 0;
    }
    return std::max<size_t>(bytes, 1);
  }

  double time() {
    const size_t count = std::clamp<size_t>((rotated_bytes + copy_bytes() - 1) / copy_bytes(), 1, most_copies);
    while (copies_.size() < count) create(add_copy());
    const size_t calls = (least_calls + count - 1) / count * count;
    const IngotDeviceApi &api = *device_.api;
    const auto enqueue_all = [&] {
      for (size_t i = 0; i < calls; ++i) enqueue(copies_[i % count]);
    };
    void *graph = nullptr;
    enqueue_all();  // what is made with a first call is made
    if (kernel_->flags & INGOT_CAPTURABLE) {
      device_.check(api.capture_begin(device_.self));
      try {
        enqueue_all();
      } catch (...) {
        api.capture_end(device_.self, &graph);
        api.destroy_graph(device_.self, graph);
        throw;
      }
      device_.check(api.capture_end(device_.self, &graph));
    }
    const auto destroy = [&](void *made) { api.destroy_graph(device_.self, made); };
    const std::unique_ptr<void, decltype(destroy)> kept(graph, destroy);
    const auto forget = [&](void *event) { api.destroy_event(device_.self, event); };
    std::vector<std::unique_ptr<void, decltype(forget)>> events;
    for (int i = 0; i < 2; ++i) {
      void *event = nullptr;
      device_.check(api.create_event(device_.self, &event));
      events.emplace_back(event, forget);
    }
    std::vector<double> times(static_cast<size_t>(options_.repeat));
    for (int32_t i = -2; i < options_.repeat; ++i) {  // the first two warm up
      double seconds = 0;
      device_.check(api.record(device_.self, events[0].get(), nullptr));
      graph ? device_.check(api.launch(device_.self, graph)) : enqueue_all();
      device_.check(api.record(device_.self, events[1].get(), nullptr));
      device_.check(api.wait_for(device_.self, events[1].get()));
      device_.check(api.elapsed(device_.self, events[0].get(), events[1].get(), &seconds));
      if (i >= 0) times[static_cast<size_t>(i)] = seconds;
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2] / static_cast<double>(calls);
  }

  OpenDevice device_;
  SingleOp &single_;
  const DeviceOpOptions &options_;
  std::span<const IngotTensor> outputs_;
  std::vector<int64_t> words_;
  std::unique_ptr<DeviceRow> row_;
  std::unique_ptr<DeviceTensor> workspace_;
  std::deque<Copy> copies_;
  const IngotKernel *kernel_ = nullptr;
  int32_t tactics_ = 0;
};

}  // namespace

DeviceOpResult run_on_device(SingleOp &single, const DeviceOpOptions &options, std::span<const IngotTensor> outputs) {
  return Run(single, options, outputs).result();
}

}  // namespace ingot
