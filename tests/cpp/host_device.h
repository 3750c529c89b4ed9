// IngotDeviceApi on a host::Machine: what engines and the runtime do with an accelerator, without one.
#pragma once
#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "error.h"
#include "host_kernels.h"
#include "host_machine.h"
#include "runtime/sampler.h"

namespace host {

inline int32_t count(char *, size_t) { return 1; }

inline int info(int32_t, IngotDeviceInfo *info, char *, size_t) {
  *info = {"host", 90, 1, 13000, 13000, watch.memory, watch.memory - watch.bytes};
  return 0;
}

inline int open(int32_t ordinal, IngotCtx *ctx, void **self) {
  if (ordinal != 0) return ctx->host->error(ctx, "there is no GPU %d", ordinal);
  auto *made = new Machine{ctx, {}, nullptr, {}};
  ctx->device = INGOT_CUDA;
  ctx->sm = 90;
  ctx->sm_count = 1;
  ctx->stream = ctx->copy_stream = &made->stream;
  *self = made;
  return 0;
}

inline void close(void *self) { delete &machine(self); }

inline int allocate(void *self, size_t bytes, void **memory) {
  IngotCtx *ctx = machine(self).ctx;
  if (watch.bytes + static_cast<int64_t>(bytes) > watch.memory)
    return ctx->host->error(ctx, "the device's memory is full");
  *memory = machine(self).memory.allocate(bytes);
  return *memory ? 0 : ctx->host->error(ctx, "no addresses are left");
}
// As on a GPU, memory is released when nothing runs any more.
inline void release(void *self, void *memory) {
  machine(self).stream.drain();
  machine(self).memory.release(memory);
}
inline int allocate_pinned(void *self, size_t bytes, void **memory) {
  *memory = machine(self).memory.pin(bytes);
  return 0;
}
inline void release_pinned(void *self, void *memory) {
  machine(self).stream.drain();
  machine(self).memory.unpin(memory);
}

inline int move(Machine &device, uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes && (!to || !from)) return device.ctx->host->error(device.ctx, "a copy reaches beyond the device's memory");
  device.enqueue([=](std::string &) { return bytes == 0 || std::memmove(to, from, bytes) != nullptr; });
  return 0;
}

// Pageable memory is read at once, pinned memory when the stream comes to it.
inline int upload(void *self, void *to, const void *from, size_t bytes, void *) {
  Machine &device = machine(self);
  const auto *source = static_cast<const uint8_t *>(from);
  auto *target = device.memory.on_device(static_cast<uint8_t *>(to), bytes);
  if (device.memory.is_pinned(from, bytes)) return move(device, target, source, bytes);
  if (bytes && !target) return device.ctx->host->error(device.ctx, "an upload reaches beyond the device's memory");
  const std::vector<uint8_t> kept(source, source + bytes);
  device.enqueue([=](std::string &) { return bytes == 0 || std::memcpy(target, kept.data(), bytes) != nullptr; });
  return 0;
}

inline int synchronize(void *self, void *) {
  machine(self).stream.drain();
  return machine(self).health();
}

inline int download(void *self, void *to, const void *from, size_t bytes, void *) {
  Machine &device = machine(self);
  const bool pinned = device.memory.is_pinned(to, bytes);
  if (move(device, static_cast<uint8_t *>(to), device.memory.on_device(static_cast<const uint8_t *>(from), bytes),
           bytes))
    return 1;
  return pinned ? 0 : synchronize(self, nullptr);
}

inline int copy(void *self, void *to, const void *from, size_t bytes, void *) {
  ++watch.copies;
  const Memory &memory = machine(self).memory;
  return move(machine(self), memory.on_device(static_cast<uint8_t *>(to), bytes),
              memory.on_device(static_cast<const uint8_t *>(from), bytes), bytes);
}

inline int fill(void *self, void *to, int32_t byte, size_t bytes, void *) {
  Machine &device = machine(self);
  auto *target = device.memory.on_device(static_cast<uint8_t *>(to), bytes);
  if (bytes && !target) return device.ctx->host->error(device.ctx, "a fill reaches beyond the device's memory");
  device.enqueue([=](std::string &) { return bytes == 0 || std::memset(target, byte, bytes) != nullptr; });
  return 0;
}

inline int load(void *self, void *to, const void *from, size_t bytes) {
  return upload(self, to, from, bytes, nullptr) || synchronize(self, nullptr);
}

struct Event {
  std::atomic<int> ahead{0};  // records that the stream has not come to
  std::atomic<std::chrono::steady_clock::time_point> at;
};
inline Event &event_of(void *event) { return *static_cast<Event *>(event); }

inline int create_event(void *, void **event) {
  ++watch.blocks;
  *event = new Event;
  return 0;
}
inline void destroy_event(void *, void *event) {
  --watch.blocks;
  delete static_cast<Event *>(event);
}
inline int record(void *self, void *event, void *) {
  ++event_of(event).ahead;
  machine(self).enqueue([event](std::string &) {
    event_of(event).at = std::chrono::steady_clock::now();
    --event_of(event).ahead;
    return true;
  });
  return 0;
}
inline int wait_for(void *self, void *event) {
  while (event_of(event).ahead > 0) {
    if (const int failed = machine(self).health()) return failed;
    std::this_thread::yield();
  }
  return machine(self).health();
}
inline int let_wait(void *, void *, void *) { return 0; }  // there is one stream
inline int elapsed(void *, void *begin, void *end, double *seconds) {
  *seconds = std::chrono::duration<double>(event_of(end).at.load() - event_of(begin).at.load()).count();
  return 0;
}
inline int health(void *self) { return machine(self).health(); }

inline int capture_begin(void *self) {
  machine(self).capturing = std::make_unique<Graph>();
  ++watch.capturing;
  return 0;
}
inline int capture_end(void *self, void **graph) {
  *graph = machine(self).capturing.release();
  --watch.capturing;
  ++watch.blocks;
  ++watch.captures;
  return 0;
}
inline int launch(void *self, void *graph) {
  for (const Work &work : *static_cast<Graph *>(graph)) machine(self).enqueue(work);
  ++watch.launches;
  return 0;
}
inline void destroy_graph(void *, void *graph) {
  --watch.blocks;
  delete static_cast<Graph *>(graph);
}

template <bool hasty>
const IngotOpKernels *kernels(int32_t *count) {
  const std::vector<IngotOpKernels> &sets = kernel_sets(hasty);
  *count = static_cast<int32_t>(sets.size());
  return sets.data();
}

inline int begin_step(void *self, const IngotBeginStep *given) {
  Machine &device = machine(self);
  IngotBeginStep step = *given;
  const auto words = [&](const int32_t *place, int64_t count) {
    return const_cast<int32_t *>(device.memory.on_device(place, static_cast<size_t>(count) * sizeof(int32_t)));
  };
  std::vector<IngotFieldPart> parts(given->parts, given->parts + given->n_parts);
  for (IngotFieldPart &part : parts) {
    if (part.first < 0 || part.first + part.count > step.block_words)
      return device.ctx->host->error(device.ctx, "a part of a step does not lie in its block");
    part.target = words(static_cast<int32_t *>(part.target), part.count);
    if (!part.target) return device.ctx->host->error(device.ctx, "a part of a step has no place on the device");
  }
  step.ring = words(step.ring, int64_t{step.n_ring} * step.block_words);
  step.turn = words(step.turn, 1);
  step.ids_T = words(step.ids_T, step.T);
  step.sequences_T = words(step.sequences_T, step.T);
  if (!step.ring || !step.turn || !step.ids_T || !step.sequences_T)
    return device.ctx->host->error(device.ctx, "a step's numbers lie where the device cannot reach them");
  step.slots_S = step.slots_S ? words(step.slots_S, 1) : nullptr;
  step.last_tokens = words(step.last_tokens, 1);
  device.enqueue([step, parts](std::string &) {
    const int32_t *block = step.ring + int64_t{*step.turn % step.n_ring} * step.block_words;
    for (const IngotFieldPart &part : parts)
      std::memcpy(part.target, block + part.first, static_cast<size_t>(part.count) * sizeof(int32_t));
    for (int32_t t = 0; step.slots_S && t < step.T; ++t) {
      if (step.ids_T[t] == -1) step.ids_T[t] = step.last_tokens[step.slots_S[step.sequences_T[t]]];
    }
    return true;
  });
  return 0;
}

inline size_t sample_workspace(int32_t, int64_t) { return 64; }

inline IngotSampledToken draw(std::span<const float> logits_V, const IngotSlotSampling &how, int32_t position) {
  ingot::SamplingChange sampling;
  sampling.seed = how.seed;
  sampling.temperature = how.temperature;
  sampling.top_p = how.top_p;
  sampling.min_p = how.min_p;
  sampling.top_k = how.top_k;
  sampling.logprobs = how.logprobs;
  try {
    const ingot::Sampled sampled = ingot::Sampler().sample(logits_V, sampling, position);
    return {sampled.token, sampled.logprob};
  } catch (const ingot::Error &) {
    return {-1, 0};
  }
}

inline int end_step(void *self, const IngotEndStep *given) {
  Machine &device = machine(self);
  IngotEndStep step = *given;
  bool found = true;
  const auto place = [&]<typename T>(T *&of, int64_t count) {
    of = device.memory.on_device(of, static_cast<size_t>(count) * sizeof(T));
    found = found && of;
  };
  place(step.logits_NV, step.vocab);
  for (const int32_t **words : {&step.rows_S, &step.slots_S, &step.positions_S}) place(*words, step.S);
  place(step.sampling, step.max_sequences);
  place(step.last_tokens, step.max_sequences);
  place(step.results, int64_t{step.n_ring} * step.max_sequences);
  place(step.turn, 1);
  place(step.done, 1);
  auto *workspace = static_cast<uint8_t *>(step.workspace);
  place(workspace, static_cast<int64_t>(sample_workspace(step.max_sequences, step.vocab)));
  if (!found || step.S > step.max_sequences)
    return device.ctx->host->error(device.ctx, "what ends a step lies where the device cannot reach it");
  device.enqueue([step](std::string &) {
    IngotSampledToken *results = step.results + int64_t{*step.turn % step.n_ring} * step.max_sequences;
    for (int32_t s = 0; s < step.S; ++s) {
      results[s] = {-1, 0};
      if (step.rows_S[s] < 0) continue;
      const int32_t slot = step.slots_S[s];
      const std::span row(step.logits_NV + step.rows_S[s] * step.vocab, static_cast<size_t>(step.vocab));
      results[s] = draw(row, step.sampling[slot], step.positions_S[s]);
      step.last_tokens[slot] = std::max(0, results[s].token);
    }
    *step.turn = (*step.turn + 1) % step.n_ring;
    const std::atomic_ref<uint64_t> done(*step.done);
    done.store(done.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    return true;
  });
  return 0;
}

// `hasty`: Linear has a kernel before the others that is not batch invariant, and cannot run.
template <bool hasty = false>
inline constexpr IngotDeviceApi api = {
    .size = sizeof(IngotDeviceApi),
    .abi = INGOT_DEVICE_ABI,
    .name = "host",
    .count = count,
    .info = info,
    .open = open,
    .close = close,
    .allocate = allocate,
    .release = release,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .upload = upload,
    .download = download,
    .copy = copy,
    .fill = fill,
    .load = load,
    .synchronize = synchronize,
    .create_event = create_event,
    .destroy_event = destroy_event,
    .record = record,
    .wait_for = wait_for,
    .let_wait = let_wait,
    .elapsed = elapsed,
    .health = health,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .launch = launch,
    .destroy_graph = destroy_graph,
    .kernels = kernels<hasty>,
    .begin_step = begin_step,
    .sample_workspace = sample_workspace,
    .end_step = end_step,
    .random = nullptr,  // no engine of these tests has random weights
    .random_codes = nullptr,
    .read_rate = nullptr,
};

}  // namespace host
