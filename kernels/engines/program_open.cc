// The half of Program that runs once: from lines of text to nodes with kernels, shapes as linear forms, and places in
// memory.
#include <algorithm>

#include "engines/plan_line.h"
#include "engines/program.h"
#include "error.h"
#include "ingot.h"
#include "ops/binding.h"
#include "ops/dtype.h"
#include "ops/kernel_choice.h"

namespace ingot {
namespace {

constexpr StepSizes sample{5, 3, 2, 4, 7, 6};  // any sizes that differ

constexpr int64_t StepSizes::*letters[] = {&StepSizes::T, &StepSizes::S, &StepSizes::N,
                                           &StepSizes::Q, &StepSizes::M, &StepSizes::P};

StepSizes largest(const Plan &plan) {
  StepSizes sizes = plan.max;
  sizes.P = 1 + sizes.S * sizes.M;
  return sizes;
}

}  // namespace

Program::Program(const ProgramHost &host, const PlanFunction &function)
    : host_(host),
      function_(function),
      accelerator_(host.accelerator),
      pools_(host.plan.values.size(), nullptr),
      pages_(host.plan.groups.size(), 0) {
  store_constants();
  const size_t count = function.ops.size();
  nodes_.resize(count);
  words_.resize(count);
  operations_.resize(count);
  placed_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    make_node(i);
    check_roles(i);
    fit_words(i);
    choose_kernel(i);
  }
  if (host.profile) {
    clocks_ = std::vector<OpClock>(count);
    for (const auto &node : nodes_) op_kinds_.push_back(std::string(node->op->domain) + "::" + node->op->name);
    for (size_t i = 0; accelerator_ && i <= count; ++i) events_.emplace_back(accelerator_);
  }
  placement_ = place(host.plan, function, placed_);
  for (size_t i = 0; i < count; ++i) create_kernel(i);
  for (size_t i = 0; i < function.fields.size(); ++i) {
    const auto &dims = host.plan.values[function.fields[i]].dims;
    const auto column = std::find(dims.begin(), dims.end(), LinearForm{0, {.M = 1}});
    if (column == dims.end() || columns_field_ >= 0) continue;
    columns_field_ = static_cast<int32_t>(i);
    columns_dim_ = static_cast<int32_t>(column - dims.begin());
  }
}

bool Program::capturable() const {
  return std::all_of(operations_.begin(), operations_.end(), [](const Operation &operation) {
    return operation.view || ((operation.kernel->flags & INGOT_CAPTURABLE) && !operation.kernel->prepare);
  });
}

void Program::store_constants() {
  constants_.resize(host_.plan.values.size(), nullptr);
  copied_constants_.resize(constants_.size(), nullptr);
  for (size_t i = 0; i < constants_.size(); ++i) {
    const PlanValue &value = host_.plan.values[i];
    if (value.role == PlanRole::weight) constants_[i] = host_.weights.data(static_cast<int32_t>(i));
    if (value.role != PlanRole::constant) continue;
    if (value.dtype == INGOT_I64) {
      constants_[i] = const_cast<int64_t *>(value.integers.data());
    } else {
      auto &narrow = narrow_constants_.emplace_back(value.integers.begin(), value.integers.end());
      constants_[i] = narrow.data();
    }
    if (!accelerator_) continue;
    const auto bytes = static_cast<size_t>(bytes_of(value, {}));
    const DeviceMemory &copy = constant_memory_.emplace_back(accelerator_, bytes);
    if (bytes) copy.upload(0, constants_[i], bytes);
    copied_constants_[i] = copy.data();
  }
}

void Program::make_node(size_t i) {
  const PlanOp &op = function_.ops[i];
  try {
    nodes_[i] = std::make_unique<IngotNode>(parse_node(op.line, host_.table));
  } catch (const Error &error) {
    refuse(i, INGOT_FOLDER, error.what());
  }
  IngotNode &node = *nodes_[i];
  placed_[i].row = node.op;
  const std::string_view word = split(op.line, ' ')[2];
  const std::string_view version = word.substr(word.rfind('@') + 1);
  if (node.op->domain[0] != '\0' && version != std::to_string(node.op->version)) {
    refuse(i, INGOT_FOLDER,
           "this Ingot has version " + std::to_string(node.op->version) + " of the op; rebuild the engine with it");
  }
  StepSizes sizes = host_.plan.max;  // P is 0: not known yet
  node.inputs.clear();
  node.outputs.clear();
  for (const int32_t value : op.in) node.inputs.push_back(tensor_at(value, sizes));
  for (size_t k = 0; k < op.in.size(); ++k) {
    if (on_accelerator(op, *node.op, k)) node.inputs[k].data = copied_constants_[op.in[k]];
  }
  for (const int32_t value : op.out) node.outputs.push_back(tensor_at(value, sizes));
}

// Whether input k is a constant that the op's kernel reads on the accelerator.
bool Program::on_accelerator(const PlanOp &op, const IngotOp &row, size_t k) const {
  if (op.in[k] < 0 || !copied_constants_[op.in[k]]) return false;
  const IngotArg *arg = argument_at(row.in, row.n_in, k);
  return arg && arg->role != INGOT_HOST;
}

void Program::check_roles(size_t i) const {
  const PlanOp &op = function_.ops[i];
  const IngotOp &row = *nodes_[i]->op;
  for (size_t k = 0; k < op.in.size(); ++k) {
    const IngotArg *arg = argument_at(row.in, row.n_in, k);
    if (!arg) refuse(i, INGOT_FOLDER, "it has more inputs than its row");
    if (op.in[k] < 0) continue;
    const PlanValue &value = host_.plan.values[op.in[k]];
    const bool fixed = value.role == PlanRole::weight || value.role == PlanRole::constant;
    if ((arg->role == INGOT_WEIGHT || arg->role == INGOT_HOST) && !fixed) {
      refuse(i, INGOT_FOLDER,
             "input " + std::string(arg->name) + " must be a weight or a constant, '" + value.name + "' is neither");
    }
    if ((arg->role == INGOT_STATE) != (value.role == PlanRole::state)) {
      refuse(i, INGOT_FOLDER,
             "input " + std::string(arg->name) + ", '" + value.name +
                 "': states and only states stand where the row has one");
    }
  }
  for (size_t k = 0; k < op.out.size(); ++k) {
    const IngotArg *arg = argument_at(row.out, row.n_out, k);
    if (!arg) refuse(i, INGOT_FOLDER, "it has more outputs than its row");
    if (op.out[k] < 0) continue;
    const bool state = host_.plan.values[op.out[k]].role == PlanRole::state;
    const IngotArg *source = arg->alias >= 0 ? argument_at(row.in, row.n_in, static_cast<size_t>(arg->alias)) : nullptr;
    const bool wanted = source && source->role == INGOT_STATE;
    const size_t place = wanted ? static_cast<size_t>(arg->alias) : 0;
    if (state != wanted || (wanted && (place >= op.in.size() || op.in[place] != op.out[k]))) {
      refuse(i, INGOT_FOLDER,
             "output " + std::string(arg->name) +
                 " must be the state that the op reads, and only such outputs are states");
    }
  }
}

IngotTensor Program::tensor_at(int32_t value, const StepSizes &sizes) const {
  IngotTensor tensor{};
  if (value < 0) return tensor;
  const PlanValue &known = host_.plan.values[value];
  tensor.data = constants_[value];
  tensor.dtype = known.dtype;
  tensor.rank = static_cast<int32_t>(known.dims.size());
  for (int32_t i = 0; i < tensor.rank; ++i) tensor.shape[i] = known.dims[i].evaluate(sizes);
  set_strides(tensor);
  return tensor;
}

// Binds the row's words for these sizes, and checks that the outputs are as the plan says.
std::vector<int64_t> Program::words_at(size_t i, const StepSizes &sizes) const {
  const PlanOp &op = function_.ops[i];
  std::vector<IngotTensor> in, out(op.out.size());
  for (const int32_t value : op.in) in.push_back(tensor_at(value, sizes));
  std::vector<int64_t> words;
  try {
    infer(*nodes_[i], host_.ctx, in, out, &words);
  } catch (const Error &error) {
    refuse(i, INGOT_FOLDER, error.what());
  }
  check_outputs(i, out, sizes);
  return words;
}

void Program::check_outputs(size_t i, std::span<const IngotTensor> found, const StepSizes &sizes) const {
  const PlanOp &op = function_.ops[i];
  for (size_t k = 0; k < op.out.size(); ++k) {
    if (op.out[k] < 0) continue;
    const IngotTensor wanted = tensor_at(op.out[k], sizes);
    if (wanted.dtype == found[k].dtype && wanted.rank == found[k].rank &&
        std::equal(wanted.shape, wanted.shape + wanted.rank, found[k].shape)) {
      continue;
    }
    refuse(i, INGOT_FOLDER,
           "with T=" + std::to_string(sizes.T) + " the op gives '" + host_.plan.values[op.out[k]].name + "' " +
               dtype_name(found[k].dtype) + " " + dims_text(found[k]) + ", the plan says " + dtype_name(wanted.dtype) +
               " " + dims_text(wanted));
  }
}

// The words as linear forms: found from steps that differ in one size, checked with two others.
void Program::fit_words(size_t i) {
  const std::vector<int64_t> base = words_at(i, sample);
  std::vector<LinearForm> &forms = words_[i];
  for (const int64_t word : base) forms.push_back({word, {}});
  for (const auto letter : letters) {
    StepSizes sizes = sample;
    ++(sizes.*letter);
    const std::vector<int64_t> words = words_at(i, sizes);
    for (size_t k = 0; k < forms.size(); ++k) {
      forms[k].factor.*letter = words[k] - base[k];
      forms[k].constant -= (words[k] - base[k]) * (sample.*letter);
    }
  }
  const StepSizes far{2 * sample.T, 3 * sample.S, 5 * sample.N, 7 * sample.Q, 2 * sample.M, 3 * sample.P};
  for (const StepSizes &sizes : {far, largest(host_.plan)}) {
    const std::vector<int64_t> words = words_at(i, sizes);
    for (size_t k = 0; k < forms.size(); ++k) {
      if (words[k] != forms[k].evaluate(sizes)) refuse(i, INGOT_FOLDER, "its shapes are no linear forms in T, S, N, Q");
    }
  }
}

void Program::choose_kernel(size_t i) {
  const IngotNode &node = *nodes_[i];
  std::string why;
  const IngotKernel *kernel = choose(node, *host_.ctx, host_.kernels, &why);
  if (!kernel) refuse(i, INGOT_MACHINE, "no kernel can run it here: " + why);
  operations_[i].kernel = kernel;
  for (int32_t k = 0; kernel->layout && k < static_cast<int32_t>(node.inputs.size()); ++k) {
    const IngotArg *arg = argument_at(node.op->in, node.op->n_in, static_cast<size_t>(k));
    if (arg->role != INGOT_WEIGHT || !node.inputs[k].data) continue;
    const char *layout = kernel->layout(&node, k);
    if (layout && std::string_view(layout) != "row") {
      refuse(i, INGOT_MACHINE,
             "kernel " + std::string(kernel->name) + " wants weight " + arg->name + " in layout '" + layout +
                 "', this engine has 'row' only; choose another with kernels=portable");
    }
  }
  if (!kernel->workspace) return;
  const StepSizes sizes = largest(host_.plan);
  std::vector<int64_t> dims;
  for (const LinearForm &word : words_[i]) dims.push_back(word.evaluate(sizes));
  const size_t bytes = kernel->workspace(&node, dims.data());
  if (bytes > size_t{1} << 46) refuse(i, INGOT_MACHINE, "its kernel wants an absurdly large workspace");
  placed_[i].workspace_bytes = static_cast<int64_t>(bytes);
}

void Program::create_kernel(size_t i) {
  Operation &operation = operations_[i];
  operation.view = placed_[i].view;
  if (operation.view || !operation.kernel->create) return;
  void *self = nullptr;
  if (operation.kernel->create(nodes_[i].get(), host_.ctx, &self)) refuse(i, INGOT_MACHINE, host_.state->error);
  const auto destroy = operation.kernel->destroy;
  operation.self = std::shared_ptr<void>(self, [destroy](void *kept) {
    if (destroy && kept) destroy(kept);
  });
}

void Program::refuse(size_t i, int status, const std::string &sentence) const {
  const PlanOp &op = function_.ops[i];
  const std::string_view kind = split(op.line, ' ')[2];
  fail(status, "%s:%d: op %.200s (%.100s): %.1000s", host_.path.c_str(), op.line_number, op.name.c_str(),
       std::string(kind).c_str(), sentence.c_str());
}

}  // namespace ingot
