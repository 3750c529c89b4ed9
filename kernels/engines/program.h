// One function of a plan made ready to run: nodes, kernels, shapes as linear forms, memory. Running it looks nothing
// up.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engines/accelerator.h"
#include "engines/op_clock.h"
#include "engines/placement.h"
#include "engines/plan.h"
#include "engines/weights.h"
#include "ingot_engine.h"
#include "ops/host.h"
#include "ops/node.h"
#include "ops/table.h"

namespace ingot {

// What the programs of one engine share.
struct ProgramHost {
  const Plan &plan;
  const std::string &path;  // of plan.txt, for messages
  const OpTable &table;
  const Weights &weights;
  std::string kernels;  // wanted: "auto", "avx512", "avx2", "portable", "naive"
  IngotCtx *ctx;        // its owner is `state`
  HostState *state;
  bool profile = false;          // take the time of every op
  Accelerator accelerator = {};  // where the program runs; empty: the CPU
};

class Program {
 public:
  // Parses, checks and creates everything. Throws Error that names the line and the op.
  Program(const ProgramHost &host, const PlanFunction &function);
  Program(const Program &) = delete;
  Program &operator=(const Program &) = delete;

  int64_t arena_bytes() const { return placement_.bytes; }
  // Whether enqueue() may be captured into a graph: no kernel looks at a step on the host.
  bool capturable() const;
  void use_arena(uint8_t *memory);
  // pools[value]: the memory of each state; pages: P of each group.
  void use_pools(const std::vector<void *> &pools, const std::vector<int32_t> &pages);

  void prepare(const IngotStep &step);
  void enqueue(const IngotStep &step, IngotTensor *outputs);

  // Time of every op, in order; none unless a profile was asked for. From any thread.
  void add_times(std::vector<IngotOpTime> &times) const;
  // The kernel of every op in that order; NULL where nothing is computed.
  void add_kernels(std::vector<const char *> &kernels) const;

 private:
  struct Operation {
    const IngotKernel *kernel = nullptr;
    std::shared_ptr<void> self;
    IngotCall call{};
    void *workspace = nullptr;
    size_t workspace_bytes = 0;
    bool view = false, idle = false;  // idle: nothing to compute in a step of these sizes
  };
  // A number that changes with the sizes of a step: a dimension of a tensor, or a word of an op's row.
  struct Patch {
    int64_t *place;
    int32_t form;
  };
  struct FieldUse {
    IngotTensor *tensor;
    int32_t field;
  };

  // program_open.cc
  void store_constants();
  void make_node(size_t op);
  bool on_accelerator(const PlanOp &op, const IngotOp &row, size_t input) const;
  void check_roles(size_t op) const;
  void choose_kernel(size_t op);
  void fit_words(size_t op);
  std::vector<int64_t> words_at(size_t op, const StepSizes &sizes) const;
  void check_outputs(size_t op, std::span<const IngotTensor> found, const StepSizes &sizes) const;
  void create_kernel(size_t op);
  IngotTensor tensor_at(int32_t value, const StepSizes &sizes) const;
  [[noreturn]] void refuse(size_t op, int status, const std::string &sentence) const;

  // program.cc
  void connect();
  void connect_tensor(int32_t value, IngotTensor &tensor);
  void patch(int64_t *place, LinearForm form, int64_t pages);
  StepSizes sizes_of(const IngotStep &step) const;
  void check_fields(const IngotStep &step, const StepSizes &sizes) const;
  void rebind(const StepSizes &sizes);
  void run_operations();
  template <typename Before, typename After>
  void run_operations(const Before &before, const After &after);
  void run_timed();
  void run_timed_on_device();

  ProgramHost host_;
  const PlanFunction &function_;
  std::vector<void *> constants_;  // by plan value: memory of weights and constants
  std::deque<std::vector<int32_t>> narrow_constants_;
  Accelerator accelerator_;
  std::vector<void *> copied_constants_;  // by plan value: constants on the accelerator
  std::deque<DeviceMemory> constant_memory_;
  std::vector<DeviceEvent> events_;  // before each op and behind the last, where they are timed on the accelerator
  std::vector<std::unique_ptr<IngotNode>> nodes_;
  std::vector<std::vector<LinearForm>> words_;  // of each op's row
  std::vector<Operation> operations_;
  std::vector<OpClock> clocks_;        // of each op, where a profile was asked for
  std::vector<std::string> op_kinds_;  // "domain::Name" of these
  std::vector<PlacedOp> placed_;
  Placement placement_;

  uint8_t *arena_ = nullptr;
  std::vector<void *> pools_;   // by plan value
  std::vector<int32_t> pages_;  // by group

  std::vector<IngotTensor> tensors_;  // of all ops, inputs before outputs; then the outputs of the function
  std::vector<int64_t> dims_;         // words of all ops
  std::vector<LinearForm> forms_;     // distinct ones that change with the step
  std::vector<int64_t> form_values_;
  std::vector<Patch> patches_;
  std::vector<IngotTensor *> restrided_;  // their strides change with the step
  std::vector<FieldUse> field_uses_;
  int32_t columns_field_ = -1, columns_dim_ = -1;  // where the step says M
  StepSizes bound_;                                // T == 0: not bound yet
};

}  // namespace ingot
