#include "runtime/device_steps.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>

#include "error.h"
#include "ingot.h"
#include "spin.h"

namespace ingot {
namespace {

constexpr size_t alignment = 64;  // words
constexpr auto patience = std::chrono::microseconds(20);

IngotSlotSampling settings_of(const SamplingChange &change) {
  IngotSlotSampling settings{};
  settings.seed = change.seed;
  settings.temperature = change.temperature;
  settings.top_p = change.top_p;
  settings.min_p = change.min_p;
  settings.top_k = change.top_k;
  settings.logprobs = change.logprobs;
  return settings;
}

std::vector<DeviceSteps::RowRun> rows_for_leader(const StepView &step) {
  std::vector<DeviceSteps::RowRun> runs;
  int32_t row = 0, end = 0;
  for (size_t s = 0; s < step.slots_S.size(); ++s) {
    const int32_t first = row;
    end += step.lengths_S[s];
    while (static_cast<size_t>(row) < step.rows_N.size() && step.rows_N[static_cast<size_t>(row)] < end) ++row;
    if (step.samples_S[s] != leader_samples || row == first) continue;
    if (!runs.empty() && runs.back().first + runs.back().count == first)
      runs.back().count += row - first;
    else
      runs.push_back({first, row - first});
  }
  return runs;
}

}  // namespace

DeviceSteps::DeviceSteps(const DeviceStepsHost &host)
    : host_(host), accelerator_(host.accelerator), max_sequences_(host.slots.size()) {
  const IngotFunction &function = host.spec.functions[0];
  const auto sequences = static_cast<size_t>(max_sequences_);
  for (int32_t i = 0; i < function.n_fields; ++i) {
    const auto field = static_cast<size_t>(i);
    float_fields_.emplace_back();
    if (host.fields.floats(field)) {
      float_fields_.back() = DeviceMemory(accelerator_, host.fields.words(field) * sizeof(float));
      float_fields_.back().fill(0);
    }
    fields_.push_back(host.fields.floats(field) ? Part{} : add_part(host.fields.words(field)));
  }
  sequences_field_ = find("sequences_T");
  slots_field_ = find("slots_S");
  const int32_t ids = find("ids_T");
  ids_ = ids >= 0 ? fields_[static_cast<size_t>(ids)] : Part{};
  sequences_ = sequences_field_ >= 0 ? fields_[static_cast<size_t>(sequences_field_)]
                                     : add_part(static_cast<size_t>(host.spec.max_tokens));
  slots_ = slots_field_ >= 0 ? fields_[static_cast<size_t>(slots_field_)] : add_part(sequences);
  rows_ = add_part(sequences);
  positions_ = add_part(sequences);

  using Kind = DeviceMemory::Kind;
  ring_ = DeviceMemory(accelerator_, blocks * block_words_ * sizeof(int32_t), Kind::pinned);
  std::memset(ring_.data(), 0, ring_.bytes());
  results_ = DeviceMemory(accelerator_, blocks * sequences * sizeof(IngotSampledToken), Kind::pinned);
  done_ = DeviceMemory(accelerator_, sizeof(uint64_t), Kind::pinned);
  *done_.data<uint64_t>() = 0;
  device_block_ = DeviceMemory(accelerator_, block_words_ * sizeof(int32_t));
  turn_ = DeviceMemory(accelerator_, sizeof(int32_t));
  last_tokens_ = DeviceMemory(accelerator_, sequences * sizeof(int32_t));
  sampling_ = DeviceMemory(accelerator_, sequences * sizeof(IngotSlotSampling));
  workspace_ = DeviceMemory(accelerator_, accelerator_.api->sample_workspace(max_sequences_, host.spec.vocab));
  for (const DeviceMemory *memory : {&device_block_, &turn_, &last_tokens_, &sampling_, &workspace_}) memory->fill(0);
  copied_ = DeviceEvent(accelerator_);
  check(accelerator_.api->synchronize(accelerator_.self, nullptr));
  tensors_.resize(fields_.size());
  outputs_.resize(static_cast<size_t>(function.n_outputs));
}

DeviceSteps::~DeviceSteps() {
  accelerator_.api->synchronize(accelerator_.self, nullptr);
  for (const auto &[sizes, graph] : graphs_) {
    if (graph.graph) accelerator_.api->destroy_graph(accelerator_.self, graph.graph);
  }
}

size_t DeviceSteps::device_bytes() const {
  size_t bytes = 0;
  for (const DeviceMemory *memory : {&device_block_, &turn_, &last_tokens_, &sampling_, &workspace_})
    bytes += memory->bytes();
  for (const DeviceMemory &memory : float_fields_) bytes += memory.bytes();
  return bytes;
}

DeviceSteps::Part DeviceSteps::add_part(size_t words) {
  const Part part{block_words_, words};
  block_words_ += (words + alignment - 1) / alignment * alignment;
  return part;
}

int32_t DeviceSteps::find(const char *name) const {
  const IngotFunction &function = host_.spec.functions[0];
  for (int32_t i = 0; i < function.n_fields; ++i) {
    if (std::strcmp(function.fields[i].name, name) == 0) return i;
  }
  return -1;
}

void DeviceSteps::send_sampling(const StepView &step) {
  for (const SamplingChange &change : step.sampling_changes) {
    const IngotSlotSampling settings = settings_of(change);
    sampling_.upload(static_cast<size_t>(change.slot) * sizeof settings, &settings, sizeof settings);
  }
}

void DeviceSteps::enqueue(const Sizes &sizes) {
  std::vector<IngotFieldPart> parts;
  const auto add = [&](const Part &part, size_t count) {
    parts.push_back({on_device(part), static_cast<int32_t>(part.first), static_cast<int32_t>(count)});
  };
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i].words) add(fields_[i], count_of(i, sizes));
  }
  if (sequences_field_ < 0) add(sequences_, static_cast<size_t>(sizes.T));
  if (slots_field_ < 0) add(slots_, static_cast<size_t>(sizes.S));
  add(rows_, static_cast<size_t>(sizes.S));
  add(positions_, static_cast<size_t>(sizes.S));

  IngotBeginStep begin{};
  begin.ring = ring_.data<int32_t>();
  begin.n_ring = blocks;
  begin.block_words = static_cast<int32_t>(block_words_);
  begin.turn = turn_.data<int32_t>();
  begin.parts = parts.data();
  begin.n_parts = static_cast<int32_t>(parts.size());
  if (ids_.words) {
    begin.ids_T = on_device(ids_);
    begin.sequences_T = on_device(sequences_);
    begin.slots_S = on_device(slots_);
    begin.last_tokens = last_tokens_.data<int32_t>();
  }
  begin.T = sizes.T;
  check(accelerator_.api->begin_step(accelerator_.self, &begin));

  if (host_.api->enqueue(host_.engine, &bound_, nullptr, outputs_.data())) check(INGOT_FAILED);
  IngotEndStep end{};
  end.logits_NV = static_cast<const float *>(outputs_[static_cast<size_t>(host_.logits)].data);
  end.vocab = host_.spec.vocab;
  end.S = sizes.S;
  end.rows_S = on_device(rows_);
  end.slots_S = on_device(slots_);
  end.positions_S = on_device(positions_);
  end.sampling = sampling_.data<IngotSlotSampling>();
  end.last_tokens = last_tokens_.data<int32_t>();
  end.results = results_.data<IngotSampledToken>();
  end.max_sequences = max_sequences_;
  end.turn = turn_.data<int32_t>();
  end.n_ring = blocks;
  end.done = done_.data<uint64_t>();
  end.workspace = workspace_.data();
  check(accelerator_.api->end_step(accelerator_.self, &end));
}

// A graph where there is one; what comes a second time becomes one, since the first time kernels load what they need.
void DeviceSteps::run(const Sizes &sizes) {
  const bool decodes = sizes.Q == 1 && sizes.T == sizes.S && sizes.N == sizes.S;
  if (!host_.graphs || !decodes) return enqueue(sizes);
  const auto [found, first_time] = graphs_.try_emplace(sizes);
  Graph &graph = found->second;
  if (first_time) return enqueue(sizes);
  if (!graph.graph) {
    check(accelerator_.api->capture_begin(accelerator_.self));
    try {
      enqueue(sizes);
    } catch (...) {
      void *torn = nullptr;
      if (accelerator_.api->capture_end(accelerator_.self, &torn) == 0)
        accelerator_.api->destroy_graph(accelerator_.self, torn);
      throw;
    }
    check(accelerator_.api->capture_end(accelerator_.self, &graph.graph));
  }
  check(accelerator_.api->launch(accelerator_.self, graph.graph));
}

void DeviceSteps::launch(const StepView &step) {
  if (flights_.size() + 1 >= static_cast<size_t>(blocks))
    fail(INGOT_FAILED, "%zu steps are in flight, and one more is launched", flights_.size());
  const Sizes sizes = padded(step);
  const IngotStep made = host_.fields.make(step, host_.slots);
  send_sampling(step);
  fill_block(made, step, sizes);
  if (step.header->n_embeddings) send_embeddings(made);
  bind(made, sizes);
  if (host_.api->prepare(host_.engine, &bound_)) check(INGOT_FAILED);
  run(sizes);

  const std::vector<RowRun> wanted = rows_for_leader(step);
  flights_.push_back({++launched_, step.header->S, step.header->N, !wanted.empty()});
  for (size_t s = 0; s < step.slots_S.size(); ++s) {
    if (step.samples_S[s] == rank_samples) host_.slots.set_last_token(step.slots_S[s], last_token_of_slot);
  }
  if (!wanted.empty()) download(wanted, step.header->N);
}

// The others stay on the device: one request that needs its logits does not bring those of all.
void DeviceSteps::download(const std::vector<RowRun> &runs, int32_t N) {
  const auto copy = [&](int32_t output, int64_t width, DeviceMemory &to) {
    const size_t row = static_cast<size_t>(width) * sizeof(float), bytes = static_cast<size_t>(N) * row;
    if (to.bytes() < bytes) to = DeviceMemory(accelerator_, bytes + bytes / 4, DeviceMemory::Kind::pinned);
    const auto *from = static_cast<const uint8_t *>(outputs_[static_cast<size_t>(output)].data);
    for (const RowRun &run : runs) {
      const size_t begin = static_cast<size_t>(run.first) * row, size = static_cast<size_t>(run.count) * row;
      check(accelerator_.api->download(accelerator_.self, to.data() + begin, from + begin, size, nullptr));
    }
  };
  copy(host_.logits, host_.spec.vocab, logits_copy_);
  if (host_.hidden >= 0) copy(host_.hidden, host_.hidden_width, hidden_copy_);
  copied_.record();
}

// Until the device has told that `number` steps have ended.
void DeviceSteps::wait(uint64_t number) const {
  const std::atomic_ref<uint64_t> done(*done_.data<uint64_t>());
  const auto ended = [&] { return done.load(std::memory_order_acquire) >= number; };
  while (!spin_until(ended)) {
    check(accelerator_.api->health(accelerator_.self));
    std::this_thread::sleep_for(patience);
  }
}

StepResults DeviceSteps::finish() {
  if (flights_.empty()) fail(INGOT_FAILED, "a step is to be finished, and none was launched");
  const Flight flight = flights_.front();
  flights_.pop_front();
  wait(flight.number);
  StepResults results;
  if (flight.wants_logits) {
    copied_.wait();
    const auto rows = static_cast<size_t>(flight.N);
    results.logits_NV = {logits_copy_.data<float>(), rows * static_cast<size_t>(host_.spec.vocab)};
    if (host_.hidden >= 0)
      results.hidden_ND = {hidden_copy_.data<float>(), rows * static_cast<size_t>(host_.hidden_width)};
  }
  const auto *sampled = results_.data<IngotSampledToken>() +
                        static_cast<size_t>((flight.number - 1) % blocks) * static_cast<size_t>(max_sequences_);
  results.sampled_S = {sampled, static_cast<size_t>(flight.S)};
  return results;
}

}  // namespace ingot
