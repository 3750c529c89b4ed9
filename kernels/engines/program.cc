#include "engines/program.h"

#include <algorithm>

#include "error.h"
#include "ingot.h"
#include "ops/binding.h"

namespace ingot {
namespace {

bool is_empty(const IngotTensor &tensor) {
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (tensor.shape[i] == 0) return true;
  }
  return false;
}

}  // namespace

void Program::use_arena(uint8_t *memory) {
  arena_ = memory;
  connect();
}

void Program::use_pools(const std::vector<void *> &pools, const std::vector<int32_t> &pages) {
  pools_ = pools;
  pages_ = pages;
  connect();
}

// Lays out the calls of all ops once; what changes with the step is left to rebind().
void Program::connect() {
  size_t tensors = function_.outputs.size(), words = 0;
  for (size_t i = 0; i < operations_.size(); ++i) {
    tensors += function_.ops[i].in.size() + function_.ops[i].out.size();
    words += words_[i].size();
  }
  tensors_.assign(tensors, IngotTensor{});
  dims_.assign(words, 0);
  forms_.clear();
  patches_.clear();
  restrided_.clear();
  field_uses_.clear();
  bound_ = {};

  IngotTensor *tensor = tensors_.data();
  int64_t *dims = dims_.data();
  for (size_t i = 0; i < operations_.size(); ++i) {
    const PlanOp &op = function_.ops[i];
    Operation &operation = operations_[i];
    const auto n_in = static_cast<int32_t>(op.in.size()), n_out = static_cast<int32_t>(op.out.size());
    operation.call = {tensor, tensor + n_in, n_in, n_out, dims};
    operation.workspace = placed_[i].workspace < 0 ? nullptr : arena_ + placed_[i].workspace;
    operation.workspace_bytes = static_cast<size_t>(placed_[i].workspace_bytes);
    int64_t pages = 0;
    for (size_t k = 0; k < op.in.size(); ++k) {
      const int32_t value = op.in[k];
      connect_tensor(value, *tensor);
      if (on_accelerator(op, *nodes_[i]->op, k)) tensor->data = copied_constants_[value];
      ++tensor;
      if (value >= 0 && host_.plan.values[value].group >= 0) pages = pages_[host_.plan.values[value].group];
    }
    for (const int32_t value : op.out) connect_tensor(value, *tensor++);
    for (const LinearForm &word : words_[i]) patch(dims++, word, pages);
  }
  for (const int32_t value : function_.outputs) connect_tensor(value, *tensor++);
  form_values_.assign(forms_.size(), 0);
}

void Program::connect_tensor(int32_t value, IngotTensor &tensor) {
  if (value < 0) return;
  const PlanValue &known = host_.plan.values[value];
  tensor.dtype = known.dtype;
  tensor.rank = static_cast<int32_t>(known.dims.size());
  const int64_t pages = known.group < 0 ? 0 : pages_[known.group];
  for (int32_t i = 0; i < tensor.rank; ++i) {
    if (known.group >= 0 && i == 0) {
      tensor.shape[0] = pages;
      continue;
    }
    patch(&tensor.shape[i], known.dims[i], pages);
    if (i > 0 && !known.dims[i].constant_only() && (restrided_.empty() || restrided_.back() != &tensor))
      restrided_.push_back(&tensor);
  }
  set_strides(tensor);
  switch (known.role) {
    case PlanRole::weight:
    case PlanRole::constant:
      tensor.data = constants_[value];
      break;
    case PlanRole::state:
      tensor.data = pools_[value];
      break;
    case PlanRole::activation:
      tensor.data = arena_ + placement_.offsets[value];
      break;
    case PlanRole::field:
      const auto &fields = function_.fields;
      field_uses_.push_back(
          {&tensor, static_cast<int32_t>(std::find(fields.begin(), fields.end(), value) - fields.begin())});
  }
}

void Program::patch(int64_t *place, LinearForm form, int64_t pages) {
  form.constant += form.factor.P * pages;
  form.factor.P = 0;
  *place = form.constant;
  if (form.constant_only()) return;
  auto found = std::find(forms_.begin(), forms_.end(), form);
  if (found == forms_.end()) found = forms_.insert(found, form);
  patches_.push_back({place, static_cast<int32_t>(found - forms_.begin())});
}

StepSizes Program::sizes_of(const IngotStep &step) const {
  if (step.n_fields != static_cast<int32_t>(function_.fields.size())) {
    fail(INGOT_INVALID, "the step brings %d fields, function '%s' reads %zu", step.n_fields, function_.name.c_str(),
         function_.fields.size());
  }
  StepSizes sizes{step.T, step.S, step.N, step.Q, 0, 0};
  if (columns_field_ >= 0) sizes.M = step.fields[columns_field_].shape[columns_dim_];
  const StepSizes &max = host_.plan.max;
  if (sizes.T < 1 || sizes.T > max.T || sizes.S < 0 || sizes.S > max.S || sizes.N < 0 || sizes.N > max.N ||
      sizes.Q < 0 || sizes.Q > max.Q || sizes.M < 0 || sizes.M > max.M) {
    fail(INGOT_INVALID,
         "a step of T=%d S=%d N=%d Q=%d M=%lld does not fit the engine's T=%lld S=%lld N=%lld Q=%lld M=%lld", step.T,
         step.S, step.N, step.Q, static_cast<long long>(sizes.M), static_cast<long long>(max.T),
         static_cast<long long>(max.S), static_cast<long long>(max.N), static_cast<long long>(max.Q),
         static_cast<long long>(max.M));
  }
  return sizes;
}

void Program::check_fields(const IngotStep &step, const StepSizes &sizes) const {
  for (int32_t i = 0; i < step.n_fields; ++i) {
    const PlanValue &known = host_.plan.values[function_.fields[i]];
    const IngotTensor &field = step.fields[i];
    bool fits = field.dtype == known.dtype && field.rank == static_cast<int32_t>(known.dims.size());
    for (int32_t k = 0; fits && k < field.rank; ++k) fits = field.shape[k] == known.dims[k].evaluate(sizes);
    if (!fits || (!field.data && !is_empty(field))) {
      fail(INGOT_INVALID, "field %s of the step does not have the type and shape that plan.txt says",
           known.name.c_str());
    }
  }
}

void Program::rebind(const StepSizes &sizes) {
  bound_ = {};
  for (size_t i = 0; i < forms_.size(); ++i) {
    form_values_[i] = forms_[i].evaluate(sizes);
    if (form_values_[i] < 0)
      fail(INGOT_INVALID, "the step is too small: the dimension %s would be negative", forms_[i].text().c_str());
  }
  for (const Patch &patch : patches_) *patch.place = form_values_[patch.form];
  for (IngotTensor *tensor : restrided_) set_strides(*tensor);
  for (Operation &operation : operations_) {
    operation.idle = operation.view || operation.call.n_out > 0;
    for (int32_t i = 0; i < operation.call.n_out && !operation.view; ++i) {
      const IngotTensor &out = operation.call.out[i];
      if (out.dtype != 0 && !is_empty(out)) operation.idle = false;
    }
  }
  bound_ = sizes;
}

void Program::prepare(const IngotStep &step) {
  for (size_t i = 0; i < operations_.size(); ++i) {
    const Operation &operation = operations_[i];
    if (operation.view || !operation.kernel->prepare) continue;
    if (operation.kernel->prepare(operation.self.get(), &step, host_.ctx)) refuse(i, INGOT_FAILED, host_.state->error);
  }
}

template <typename Before, typename After>
void Program::run_operations(const Before &before, const After &after) {
  IngotCtx *ctx = host_.ctx;
  for (size_t i = 0; i < operations_.size(); ++i) {
    const Operation &operation = operations_[i];
    before(i);
    if (operation.idle) continue;
    ctx->workspace = operation.workspace;
    ctx->workspace_bytes = operation.workspace_bytes;
    if (operation.kernel->enqueue(operation.self.get(), &operation.call, 0, ctx)) [[unlikely]] {
      refuse(i, INGOT_FAILED, host_.state->error);
    }
    after(i);
  }
}

void Program::run_operations() {
  run_operations([](size_t) {}, [](size_t) {});
}

void Program::run_timed() {
  OpClock::Clock::time_point begun;
  run_operations([&](size_t) { begun = OpClock::Clock::now(); },
                 [&](size_t i) { clocks_[i].add(OpClock::Clock::now() - begun); });
}

// Events stand between the ops; the step has ended when this returns.
void Program::run_timed_on_device() {
  run_operations([&](size_t i) { events_[i].record(); }, [](size_t) {});
  events_.back().record();
  events_.back().wait();
  for (size_t i = 0; i < operations_.size(); ++i) {
    if (operations_[i].idle) continue;
    const std::chrono::duration<double> seconds(events_[i].seconds_until(events_[i + 1]));
    clocks_[i].add(std::chrono::duration_cast<OpClock::Clock::duration>(seconds));
  }
}

void Program::add_times(std::vector<IngotOpTime> &times) const {
  for (size_t i = 0; i < clocks_.size(); ++i) {
    const OpClock &clock = clocks_[i];
    times.push_back(
        {function_.ops[i].name.c_str(), op_kinds_[i].c_str(), clock.calls(), clock.seconds(), clock.shortest()});
  }
}

void Program::add_kernels(std::vector<const char *> &kernels) const {
  for (const Operation &operation : operations_) kernels.push_back(operation.kernel ? operation.kernel->name : nullptr);
}

void Program::enqueue(const IngotStep &step, IngotTensor *outputs) {
  const StepSizes sizes = sizes_of(step);
  check_fields(step, sizes);
  if (!(sizes == bound_)) rebind(sizes);
  for (const FieldUse &use : field_uses_) use.tensor->data = step.fields[use.field].data;
  if (clocks_.empty()) {
    run_operations();
  } else {
    accelerator_ ? run_timed_on_device() : run_timed();
  }
  const size_t count = function_.outputs.size();
  std::copy_n(tensors_.end() - static_cast<ptrdiff_t>(count), count, outputs);
}

}  // namespace ingot
