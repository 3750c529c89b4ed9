// A rank's steps on an accelerator: launched ahead of each other, sampled there, told through memory that both reach.
//
// Numbers of a step (ids, page tables, …) are packed into a block of a pinned ring, which the step's first kernel
// copies to where the ops read them; its last one draws the tokens, keeps them for the next step and tells the host.
// Steps in which every sequence has one token are padded to one of a few sizes and captured as graphs when they come a
// second time; others are launched op by op.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "engines/accelerator.h"
#include "ingot_engine.h"
#include "runtime/slot.h"
#include "runtime/step.h"
#include "runtime/step_fields.h"
#include "runtime/step_results.h"

namespace ingot {

// What DeviceSteps needs of its rank.
struct DeviceStepsHost {
  Accelerator accelerator;
  const IngotEngineApi *api;
  void *engine;
  const IngotEngineSpec &spec;
  Slots &slots;
  StepFields &fields;
  int32_t logits, hidden, hidden_width;  // which outputs; hidden -1: none
  bool graphs;                           // steps may be captured
};

class DeviceSteps {
 public:
  explicit DeviceSteps(const DeviceStepsHost &host);
  ~DeviceSteps();
  DeviceSteps(const DeviceSteps &) = delete;
  DeviceSteps &operator=(const DeviceSteps &) = delete;

  // The slots have been given the step, page copies are enqueued. Throws Error.
  void launch(const StepView &step);
  // Of the oldest step; throws Error if the device failed. Results are valid until the next launch() or finish().
  StepResults finish();

  // Rows of a step that follow each other.
  struct RowRun {
    int32_t first, count;
  };

  size_t device_bytes() const;
  size_t graphs() const { return graphs_.size(); }  // captured so far

 private:
  static constexpr int32_t blocks = 4;  // of the ring: one more than there are steps in flight at lag 2

  struct Sizes {
    int32_t T, S, N, Q;
    auto operator<=>(const Sizes &) const = default;
  };
  // Words of the ring's block, and of the block on the device: they lie in the same places.
  struct Part {
    size_t first, words;  // the most
  };
  struct Flight {
    uint64_t number;
    int32_t S, N;
    bool wants_logits;
  };
  struct Graph {
    void *graph = nullptr;  // NULL: seen once
  };

  Part add_part(size_t words);
  int32_t find(const char *name) const;
  Sizes padded(const StepView &step) const;
  int32_t bucket(int32_t sequences) const;
  void send_sampling(const StepView &step);
  void send_embeddings(const IngotStep &made);
  void fill_block(const IngotStep &made, const StepView &step, const Sizes &sizes);
  void fill_rows(const StepView &step, const Sizes &sizes, int32_t *block);
  size_t count_of(size_t field, const Sizes &sizes) const;
  void bind(const IngotStep &made, const Sizes &sizes);
  void enqueue(const Sizes &sizes);
  void run(const Sizes &sizes);
  void download(const std::vector<RowRun> &runs, int32_t N);
  void wait(uint64_t number) const;
  int32_t *on_device(const Part &part) const { return device_block_.data<int32_t>() + part.first; }
  void check(int status) const { accelerator_.check(status); }

  DeviceStepsHost host_;
  Accelerator accelerator_;
  int32_t max_sequences_;
  std::vector<Part> fields_;  // of the engine's fields; words 0: floats, which have memory of their own
  std::vector<DeviceMemory> float_fields_;
  Part ids_{}, sequences_{}, slots_{}, rows_{}, positions_{};  // of these, the engine's own where it reads them
  int32_t sequences_field_, slots_field_;
  size_t block_words_ = 0;
  DeviceMemory ring_, device_block_, turn_, last_tokens_, sampling_, results_, done_, workspace_;
  DeviceMemory logits_copy_, hidden_copy_;  // pinned
  DeviceEvent copied_;                      // they have been
  uint64_t launched_ = 0;
  std::deque<Flight> flights_;
  std::map<Sizes, Graph> graphs_;
  std::vector<IngotTensor> tensors_, outputs_;
  IngotStep bound_{};
};

}  // namespace ingot
