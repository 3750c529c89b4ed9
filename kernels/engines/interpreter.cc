#include "engines/interpreter.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engines/arena.h"
#include "engines/boundary.h"
#include "engines/engine_spec.h"
#include "engines/plan.h"
#include "engines/program.h"
#include "engines/weights.h"
#include "ops/host.h"
#include "ops/table.h"
#include "ops/thread_pool.h"

namespace ingot {
namespace {

int threads_of(const IngotEngineOptions &options) {
  if (options.threads > 0) return options.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string kernels_of(const IngotEngineOptions &options) {
  const bool given = options.size >= offsetof(IngotEngineOptions, kernels) + sizeof options.kernels && options.kernels;
  return given ? options.kernels : "auto";
}

bool profile_of(const IngotEngineOptions &options) {
  return options.size >= offsetof(IngotEngineOptions, profile) + sizeof options.profile && options.profile;
}

bool stays_inside(const std::string &path) {
  return !path.empty() && path[0] != '/' && ("/" + path + "/").find("/../") == std::string::npos;
}

int32_t tune_of(const IngotEngineOptions &options) {
  const bool given = options.size >= offsetof(IngotEngineOptions, tune) + sizeof options.tune;
  return given ? options.tune : INGOT_TUNE_NEVER;
}

class Interpreter {
 public:
  explicit Interpreter(const IngotEngineOptions &options)
      : caller_(options.ctx),
        pool_(threads_of(options)),
        path_(std::string(options.directory) + "/plan.txt"),
        plan_(read_plan(path_)),
        weights_(plan_, options.directory, Accelerator(*caller_)) {
    state_.pool = &pool_;
    ctx_ = host_context(state_);
    ctx_.rank = caller_->rank;
    ctx_.ranks = caller_->ranks;
    ctx_.comm = caller_->comm;
    ctx_.directory = options.directory;
    ctx_.tune = tune_of(options);
    const Accelerator accelerator(*caller_);
    if (accelerator) {
      ctx_.device = caller_->device;
      ctx_.sm = caller_->sm;
      ctx_.sm_count = caller_->sm_count;
      ctx_.stream = caller_->stream;
      ctx_.copy_stream = caller_->copy_stream;
      ctx_.blas = caller_->blas;
      ctx_.accelerator = caller_->accelerator;
      ctx_.accelerator_self = caller_->accelerator_self;
    }
    for (const std::string &library : plan_.libraries) {
      if (!stays_inside(library))
        fail(INGOT_FOLDER, "%s: library '%.200s' does not lie in the folder", path_.c_str(), library.c_str());
      table_.add_library(std::string(options.directory) + "/" + library);
    }
    const ProgramHost host{
        plan_, path_, table_, weights_, kernels_of(options), &ctx_, &state_, profile_of(options), accelerator};
    int64_t bytes = 0;
    for (const PlanFunction &function : plan_.functions) {
      bytes = std::max(bytes, programs_.emplace_back(host, function).arena_bytes());
    }
    if (accelerator) {
      device_arena_ = DeviceMemory(accelerator, static_cast<size_t>(bytes));
      device_arena_.fill(0);
    } else {
      arena_ = Arena(bytes);
    }
    uint8_t *memory = accelerator ? device_arena_.data() : arena_.data();
    for (Program &program : programs_) program.use_arena(memory);
    spec_.emplace(plan_, weights_.bytes(), bytes, !programs_.empty() && programs_.front().capturable());
  }

  IngotCtx *caller() const { return caller_; }
  const IngotEngineSpec *spec() const { return spec_->get(); }

  void bind(const IngotPools &pools) {
    if (pools.n_groups != static_cast<int32_t>(plan_.groups.size())) {
      fail(INGOT_INVALID, "bind: pools of %d groups, %s has %zu", pools.n_groups, path_.c_str(), plan_.groups.size());
    }
    std::vector<void *> places(plan_.values.size(), nullptr);
    std::vector<int32_t> pages;
    for (int32_t g = 0; g < pools.n_groups; ++g) {
      const auto &states = plan_.groups[g].states;
      pages.push_back(pools.pages[g]);
      for (size_t t = 0; t < states.size(); ++t) {
        places[states[t]] = pools.pools[g][t];
        if (pools.pages[g] < 1 || !pools.pools[g][t])
          fail(INGOT_INVALID, "bind: group '%s' has no memory", plan_.groups[g].name.c_str());
      }
    }
    for (Program &program : programs_) program.use_pools(places, pages);
    bound_ = true;
  }

  void prepare(const IngotStep &step) { program(step).prepare(step); }
  void enqueue(const IngotStep &step, IngotTensor *outputs) { program(step).enqueue(step, outputs); }
  void refit(const char *name, const void *data, size_t bytes) { weights_.refit(name, data, bytes); }

  int32_t times(IngotOpTime *times, int32_t capacity) const {
    std::vector<IngotOpTime> all;
    for (const Program &program : programs_) program.add_times(all);
    std::copy_n(all.begin(), std::min(all.size(), static_cast<size_t>(std::max(0, capacity))), times);
    return static_cast<int32_t>(all.size());
  }

  const char *kernel(int32_t i) const {
    std::vector<const char *> all;
    for (const Program &program : programs_) program.add_kernels(all);
    return i >= 0 && static_cast<size_t>(i) < all.size() ? all[static_cast<size_t>(i)] : nullptr;
  }

 private:
  Program &program(const IngotStep &step) {
    if (step.function < 0 || step.function >= static_cast<int32_t>(programs_.size())) {
      fail(INGOT_INVALID, "the step asks for function %d, the plan has %zu", step.function, programs_.size());
    }
    if (!bound_ && !plan_.groups.empty()) fail(INGOT_INVALID, "a step came before bind");
    return programs_[static_cast<size_t>(step.function)];
  }

  IngotCtx *caller_;  // errors go there
  ThreadPool pool_;
  HostState state_{};
  IngotCtx ctx_{};
  OpTable table_;  // before the programs: their nodes point into it
  std::string path_;
  Plan plan_;
  Weights weights_;
  Arena arena_;
  DeviceMemory device_arena_;
  std::deque<Program> programs_;
  std::optional<EngineSpec> spec_;
  bool bound_ = false;
};

Interpreter &engine(void *self) { return *static_cast<Interpreter *>(self); }

int open_cpu(const IngotEngineOptions *options, void **self) {
  return at_boundary(options->ctx, [&] { *self = new Interpreter(*options); });
}

int open_cuda(const IngotEngineOptions *options, void **self) {
  return at_boundary(options->ctx, [&] {
    if (!options->ctx->accelerator)
      fail(INGOT_MACHINE, "the engine runs on CUDA, and it was opened without a device; open it by ingot_open");
    *self = new Interpreter(*options);
  });
}

const IngotEngineSpec *spec_of(void *self) { return engine(self).spec(); }

int bind_interpreter(void *self, const IngotPools *pools) {
  return at_boundary(engine(self).caller(), [&] { engine(self).bind(*pools); });
}

int prepare_interpreter(void *self, const IngotStep *step) {
  return at_boundary(engine(self).caller(), [&] { engine(self).prepare(*step); });
}

int enqueue_interpreter(void *self, const IngotStep *step, void *, IngotTensor *outputs) {
  return at_boundary(engine(self).caller(), [&] { engine(self).enqueue(*step, outputs); });
}

int refit_interpreter(void *self, const char *name, const void *data, size_t bytes) {
  return at_boundary(engine(self).caller(), [&] { engine(self).refit(name, data, bytes); });
}

int32_t times_of(void *self, IngotOpTime *times, int32_t capacity) { return engine(self).times(times, capacity); }

const char *kernel_of(void *self, int32_t i) { return engine(self).kernel(i); }

void close_interpreter(void *self) { delete &engine(self); }

constexpr IngotEngineApi api = {sizeof(IngotEngineApi),
                                INGOT_ENGINE_ABI,
                                "cpu",
                                open_cpu,
                                spec_of,
                                bind_interpreter,
                                prepare_interpreter,
                                enqueue_interpreter,
                                refit_interpreter,
                                close_interpreter,
                                times_of,
                                kernel_of};

constexpr IngotEngineApi cuda_api = {sizeof(IngotEngineApi),
                                     INGOT_ENGINE_ABI,
                                     "cuda",
                                     open_cuda,
                                     spec_of,
                                     bind_interpreter,
                                     prepare_interpreter,
                                     enqueue_interpreter,
                                     refit_interpreter,
                                     close_interpreter,
                                     times_of,
                                     kernel_of};

}  // namespace

const IngotEngineApi *cuda_engine() { return &cuda_api; }

const IngotEngineApi *cpu_engine() { return &api; }

}  // namespace ingot
