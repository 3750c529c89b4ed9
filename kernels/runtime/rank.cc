#include "runtime/rank.h"

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "error.h"
#include "ingot.h"

namespace ingot {
namespace {

void drop_message(IngotCtx *, int, const char *, ...) {}

}  // namespace

Rank::Rank(const IngotEngineApi *api, const RankOptions &options)
    : api_(api), ordinal_(options.ordinal), graphs_(options.graphs) {
  host_.size =
      offsetof(IngotHost, node_name);  // what a runtime offers to an engine; the rest is the engine's to its kernels
  host_.error = host_services()->error;
  host_.log = drop_message;
  own_ctx_.size = sizeof own_ctx_;
  own_ctx_.device = INGOT_CPU;
  own_ctx_.host = &host_;
  own_ctx_.owner = &state_;
  if (options.device) {
    device_.emplace(options.device, options.ordinal);
    ctx_ = &device_->ctx;
  }
  ctx_->rank = options.rank;
  ctx_->ranks = options.ranks;
  ctx_->comm = options.comm;
  const IngotEngineOptions given{sizeof given,    options.directory.c_str(), ctx_,
                                 options.threads, options.kernels.c_str(),   options.profile,
                                 options.tune};
  check(api_->open(&given, &engine_));
  spec_ = api_->spec(engine_);
  try {
    logits_ = find_logits();
    find_hidden();
    const bool said = spec_->size >= offsetof(IngotEngineSpec, capturable) + sizeof spec_->capturable;
    graphs_ = graphs_ && !options.profile && said && spec_->capturable;
  } catch (...) {
    api_->close(engine_);
    throw;
  }
}

Rank::~Rank() {
  device_steps_.reset();  // waits for what is launched
  api_->close(engine_);
}

void Rank::check(int status) {
  if (status == INGOT_OK) return;
  const int known = status >= INGOT_INVALID && status <= INGOT_FAILED ? status : INGOT_FAILED;
  const std::string &error = static_cast<const HostState *>(ctx_->owner)->error;
  throw Error(known, error.empty() ? "the engine '" + std::string(api_->name) + "' failed and said nothing" : error);
}

int64_t Rank::field_bytes() const {
  return fields_->bytes() + (device_steps_ ? static_cast<int64_t>(device_steps_->device_bytes()) : 0);
}

int64_t Rank::free_bytes() const {
  if (!device_) return 0;
  IngotDeviceInfo info{};
  char why[1024] = "";
  if (device_->api->info(ordinal_, &info, why, sizeof why)) fail(INGOT_MACHINE, "%s", why);
  return info.free_bytes;
}

std::vector<IngotOpTime> Rank::times() const {
  const bool given = api_->size >= offsetof(IngotEngineApi, times) + sizeof api_->times && api_->times;
  std::vector<IngotOpTime> times(given ? static_cast<size_t>(api_->times(engine_, nullptr, 0)) : 0);
  if (!times.empty()) api_->times(engine_, times.data(), static_cast<int32_t>(times.size()));
  return times;
}

std::vector<const char *> Rank::kernels() const {
  std::vector<const char *> kernels(times().size(), nullptr);
  if (api_->size < offsetof(IngotEngineApi, kernel) + sizeof api_->kernel || !api_->kernel) return kernels;
  for (size_t i = 0; i < kernels.size(); ++i) kernels[i] = api_->kernel(engine_, static_cast<int32_t>(i));
  return kernels;
}

int32_t Rank::find_logits() const {
  const IngotEngineSpec &spec = *spec_;
  if (spec.n_functions < 1 || std::strcmp(spec.functions[0].name, "step") != 0) {
    fail(INGOT_FOLDER, "the engine's first function is not 'step'; rebuild it with this version");
  }
  if (spec.max_tokens < 1 || spec.max_sequences < 1 || spec.max_rows < 1 || spec.max_length < 1 || spec.vocab < 1 ||
      spec.max_pages < 0) {
    fail(INGOT_FOLDER, "the engine's limits are T=%d S=%d N=%d L=%d and %d tokens in its vocabulary; rebuild it",
         spec.max_tokens, spec.max_sequences, spec.max_rows, spec.max_length, spec.vocab);
  }
  const IngotFunction &step = spec.functions[0];
  for (int32_t i = 0; i < step.n_outputs; ++i) {
    if (std::strcmp(step.outputs[i].name, "logits_NV") != 0) continue;
    if (step.outputs[i].dtype != INGOT_F32)
      fail(INGOT_FOLDER, "the engine's logits_NV is not f32; rebuild it with this version");
    return i;
  }
  fail(INGOT_FOLDER, "the engine's function 'step' has no output logits_NV; rebuild it with this version");
}

void Rank::find_hidden() {
  const IngotFunction &step = spec_->functions[0];
  for (int32_t i = 0; i < step.n_outputs; ++i) {
    const IngotNamedTensor &output = step.outputs[i];
    if (std::strcmp(output.name, "hidden_ND") != 0) continue;
    hidden_width_ = output.rank == 2 ? std::atoi(output.dims[1]) : 0;
    if (output.dtype != INGOT_F32 || hidden_width_ < 1)
      fail(INGOT_FOLDER, "the engine's hidden_ND is not f32 of N rows; rebuild it with this version");
    hidden_ = i;
  }
}

void Rank::bind(std::vector<int32_t> pages, int32_t max_sequences) {
  slots_.emplace(max_sequences, pages, spec_->max_pages);
  const Accelerator accelerator(*ctx_);
  cache_.emplace(*spec_, std::move(pages), accelerator);
  fields_.emplace(*spec_, 0, max_sequences);
  outputs_.resize(static_cast<size_t>(spec_->functions[0].n_outputs));
  check(api_->bind(engine_, cache_->pools()));
  if (accelerator) {
    device_steps_.emplace(DeviceStepsHost{accelerator, api_, engine_, *spec_, *slots_, *fields_, logits_, hidden_,
                                          hidden_width_, graphs_});
  }
}

void Rank::check_step(const StepHeader &header) const {
  if (header.function != 0 || header.T < 1 || header.T > spec_->max_tokens || header.S > slots_->size() ||
      header.N > spec_->max_rows) {
    fail(INGOT_FAILED, "a step message of T=%d S=%d N=%d for function %d does not fit this rank's T=%d S=%d N=%d",
         header.T, header.S, header.N, header.function, spec_->max_tokens, slots_->size(), spec_->max_rows);
  }
}

void Rank::launch(const StepView &step) {
  if (!device_steps_) return launched_.push_back(step);
  check_step(*step.header);
  slots_->apply(step);
  cache_->copy(step.page_copies);
  device_steps_->launch(step);
}

StepResults Rank::finish() {
  if (device_steps_) return device_steps_->finish();
  if (launched_.empty()) fail(INGOT_FAILED, "a step is to be finished, and none was launched");
  const StepView step = launched_.front();
  launched_.pop_front();
  const std::span<float> logits_NV = compute(step);
  return {logits_NV, hidden_ND_, {}};
}

std::span<float> Rank::run(const StepView &step) {
  launch(step);
  return finish().logits_NV;
}

std::span<float> Rank::compute(const StepView &step) {
  check_step(*step.header);
  slots_->apply(step);
  cache_->copy(step.page_copies);
  const IngotStep made = fields_->make(step, *slots_);
  check(api_->prepare(engine_, &made));
  check(api_->enqueue(engine_, &made, nullptr, outputs_.data()));
  if (hidden_ >= 0) hidden_ND_ = rows_of(hidden_, made.N, hidden_width_);
  return rows_of(logits_, made.N, spec_->vocab);
}

std::span<float> Rank::rows_of(int32_t output, int32_t rows, int32_t width) const {
  const IngotTensor &given = outputs_[static_cast<size_t>(output)];
  if (!given.data || given.rank != 2 || given.shape[0] != rows || given.shape[1] != width) {
    fail(INGOT_FAILED, "the engine gave %s of rank %d and shape %lld,%lld, expected %d,%d",
         spec_->functions[0].outputs[output].name, given.rank, static_cast<long long>(given.shape[0]),
         static_cast<long long>(given.shape[1]), rows, width);
  }
  return {static_cast<float *>(given.data), static_cast<size_t>(rows) * static_cast<size_t>(width)};
}

}  // namespace ingot
