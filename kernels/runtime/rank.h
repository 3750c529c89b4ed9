// One rank: an open engine, its cache and its slots. It replays step messages and decides nothing.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engines/accelerator.h"
#include "ingot_comm.h"
#include "ingot_engine.h"
#include "runtime/cache.h"
#include "runtime/device_steps.h"
#include "runtime/slot.h"
#include "runtime/step.h"
#include "runtime/step_fields.h"
#include "runtime/step_results.h"
#include "runtime/step_runner.h"

namespace ingot {

struct RankOptions {
  std::string directory;  // rank0/
  int32_t threads = 0;
  std::string kernels = "auto";
  int32_t rank = 0, ranks = 1;
  IngotComm *comm = nullptr;               // NULL with one rank
  bool profile = false;                    // take the time of every op
  const IngotDeviceApi *device = nullptr;  // NULL: the CPU
  int32_t ordinal = 0;                     // which device
  int32_t tune = INGOT_TUNE_NEVER;         // whether kernels may time their tactics
  bool graphs = true;                      // steps on a device may be captured
};

class Rank : public StepRunner {
 public:
  // Opens the engine. Throws what it says, or Error(INGOT_FOLDER) if the engine cannot be served.
  Rank(const IngotEngineApi *api, const RankOptions &options);
  ~Rank() override;
  Rank(const Rank &) = delete;
  Rank &operator=(const Rank &) = delete;

  const IngotEngineSpec &spec() const { return *spec_; }
  // Gives the engine its cache. Once, before the first run().
  void bind(std::vector<int32_t> pages, int32_t max_sequences);

  void launch(const StepView &step) override;
  StepResults finish() override;
  // A rank that does not sample only remembers the step in launch(), and computes it in finish().
  bool samples() const override { return device_.has_value(); }
  bool can_sample(const SamplingChange &) const override { return samples(); }

  // A step launched and finished; the logits of its rows, valid until the next.
  std::span<float> run(const StepView &step);
  // What the head read for these rows, hidden_width() numbers each; empty where the engine does not give them.
  std::span<const float> hidden() const { return hidden_ND_; }
  int32_t hidden_width() const { return hidden_width_; }
  int32_t embedding_width() const { return fields_->embedding_width(); }

  Slots &slots() { return *slots_; }
  const Cache &cache() const { return *cache_; }
  int64_t field_bytes() const;
  // Bytes of the device that nobody has taken; 0 on the CPU.
  int64_t free_bytes() const;
  // Time of every op so far, in order; none unless a profile was asked for. From any thread.
  std::vector<IngotOpTime> times() const;
  // The kernel of each of these ops; NULL where there is none, or the engine does not tell.
  std::vector<const char *> kernels() const;

 private:
  void check(int status);
  std::span<float> compute(const StepView &step);
  void check_step(const StepHeader &header) const;
  int32_t find_logits() const;
  void find_hidden();
  std::span<float> rows_of(int32_t output, int32_t rows, int32_t width) const;

  const IngotEngineApi *api_;
  HostState state_;  // its error: the engine's last sentence
  IngotHost host_{};
  IngotCtx own_ctx_{};
  std::optional<OpenDevice> device_;
  IngotCtx *ctx_ = &own_ctx_;  // the device's, where there is one
  int32_t ordinal_ = 0;
  bool graphs_;
  void *engine_ = nullptr;
  const IngotEngineSpec *spec_ = nullptr;
  int32_t logits_ = 0, hidden_ = -1;  // which of the function's outputs; -1: none
  int32_t hidden_width_ = 0;
  std::span<const float> hidden_ND_;
  std::optional<Cache> cache_;
  std::optional<Slots> slots_;
  std::optional<StepFields> fields_;
  std::vector<IngotTensor> outputs_;
  std::deque<StepView> launched_;  // and not finished; on the CPU
  std::optional<DeviceSteps> device_steps_;
};

}  // namespace ingot
