#include "ops/cuda/product_tuner.h"

#include <algorithm>
#include <vector>

namespace ingot {
namespace {

constexpr int32_t most_stream_tokens = 128;       // above, the stream is not tried beside cuBLASLt
constexpr int32_t most_untimed_tokens = 8;        // the rule's stream is as quick as any in every step that was timed
constexpr int32_t least_staged_tokens = 32;       // below, stages are not tried
constexpr int32_t most_finished_tokens = 512;     // above, they are not tried beside cuBLASLt's own scales
constexpr size_t cold_bytes = size_t{256} << 20;  // of weights, so that no L2 cache holds them
constexpr size_t most_bytes = size_t{1} << 30;    // of x and y

size_t bytes_of(int32_t dtype) { return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1; }

TacticKey tactic_key(const Product &p, int32_t T) {
  return {p.F, p.D, p.weight_dtype, p.x_dtype, p.y_dtype, p.bias_dtype, p.x_scale_dtype, p.scale_dtype, p.scale_step,
          p.N, T};
}

std::string machine_name(const CublasLt *cublaslt) {
  int device = 0, driver = 0;
  cudaDeviceProp properties{};
  cudaGetDevice(&device);
  cudaGetDeviceProperties(&properties, device);
  cudaDriverGetVersion(&driver);
  return std::string(properties.name) + " driver " + std::to_string(driver) + " cublaslt " +
         std::to_string(cublaslt ? cublaslt->version() : 0);
}

}  // namespace

// Operands of products of one shape.
class ProductTuner::Scratch {
 public:
  Scratch(const Product &p, int32_t most_tokens) : product_(p) {
    const size_t numbers = static_cast<size_t>(p.F) * static_cast<size_t>(p.D);
    const bool four_bits = p.weight_dtype == INGOT_I4 || p.weight_dtype == INGOT_U4;
    weight_bytes_ = ((four_bits ? numbers / 2 : numbers * bytes_of(p.weight_dtype)) + 255) / 256 * 256;
    copies = (cold_bytes + weight_bytes_ - 1) / weight_bytes_;
    const auto T = static_cast<size_t>(most_tokens), F = static_cast<size_t>(p.F), D = static_cast<size_t>(p.D);
    product_.weight_FD = weights_ = take(weight_bytes_ * copies);
    product_.x_TD = take(T * D * bytes_of(p.x_dtype));
    product_.y_TF = take(T * F * bytes_of(p.y_dtype));
    if (p.bias_dtype) product_.bias_F = take(F * bytes_of(p.bias_dtype));
    if (p.x_scale_dtype) product_.x_scale_T = static_cast<float *>(take(T * sizeof(float)));
    if (p.scale_dtype) product_.scale_F = static_cast<float *>(take(F * sizeof(float)));
    if (p.N) {
      const auto N = static_cast<size_t>(p.N);
      product_.group_scale_FN = take(F * N * bytes_of(p.group_scale_dtype));
      if (p.zero_FN) product_.zero_FN = static_cast<int8_t *>(take(F * N));
    }
    workspace_bytes = std::max(cublaslt_workspace(p.F), staged_workspace(most_tokens, p.F, p.D, p.N > 0));
    workspace = take(workspace_bytes);
  }
  ~Scratch() {
    for (void *memory : taken_) cudaFree(memory);
  }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;

  bool complete() const { return complete_; }
  // With another copy of the weights each time.
  Product product(int32_t T, size_t turn) const {
    Product p = product_;
    p.T = T;
    p.weight_FD = static_cast<const char *>(weights_) + turn % copies * weight_bytes_;
    return p;
  }

  void *workspace = nullptr;
  size_t workspace_bytes = 0, copies = 1;

 private:
  void *take(size_t bytes) {
    void *memory = nullptr;
    if (!complete_ || cudaMalloc(&memory, bytes) != cudaSuccess || cudaMemset(memory, 0x22, bytes) != cudaSuccess) {
      complete_ = false;
      cudaGetLastError();
    }
    if (memory) taken_.push_back(memory);
    return memory;
  }

  Product product_;
  const void *weights_;
  size_t weight_bytes_;
  std::vector<void *> taken_;
  bool complete_ = true;
};

ProductTuner::ProductTuner(std::string *why)
    : cublaslt_(CublasLt::open(why)), tile_(TileProducts::open()), tactics_(machine_name(cublaslt_.get())) {}

int ProductTuner::launch(const Product &p, int32_t tactic, int32_t tuned_T, void *workspace, size_t workspace_bytes,
                         cudaStream_t stream) {
  if (tactic >= Tactics::first_staged && cublaslt_) {
    return launch_staged_product(*cublaslt_, p, tuned_T, tactic - Tactics::first_staged, workspace, workspace_bytes,
                                 stream);
  }
  if (tactic >= Tactics::first_cublaslt && cublaslt_) {
    return launch_cublaslt_product(*cublaslt_, p, tuned_T, tactic - Tactics::first_cublaslt, workspace, workspace_bytes,
                                   stream);
  }
  if (tactic == Tactics::tile && tile_) {
    return -static_cast<int>(tile_->launch(p, workspace, workspace_bytes, stream));
  }
  if (p.N) return -static_cast<int>(launch_grouped_product(p, stream));
  return -static_cast<int>(launch_stream_product(p, stream));
}

int32_t ProductTuner::tactic(const Product &p, int32_t bucket) const { return tactics_.find(tactic_key(p, bucket)); }

void ProductTuner::tune(const Product &product, const std::string &baked, bool timing, cudaStream_t stream) {
  const std::string user = tactics_.user_path();
  for (const std::string &path : {baked, user}) {
    if (!path.empty() && read_.insert(path).second) tactics_.read(path);
  }
  Product p = product;
  std::vector<int32_t> missing;
  for (int32_t T = 2 * most_untimed_tokens; T <= tactic_bucket(p.T); T *= 2) {
    const size_t bytes = static_cast<size_t>(T) * (static_cast<size_t>(p.D) * bytes_of(p.x_dtype) +
                                                   static_cast<size_t>(p.F) * bytes_of(p.y_dtype));
    if (tactic(p, T) == Tactics::none && bytes <= most_bytes) missing.push_back(T);
  }
  if (!timing || missing.empty()) return;
  const Scratch scratch(p, missing.back());
  if (!scratch.complete()) return;  // memory is short: what is not timed goes by a rule
  for (const int32_t T : missing) {
    double best = 0;
    const int32_t tactic = quickest(p, T, scratch, stream, &best);
    if (tactic != Tactics::none) tactics_.set(tactic_key(p, T), tactic, best);
  }
  tactics_.write(user);
}

int32_t ProductTuner::quickest(const Product &p, int32_t T, const Scratch &scratch, cudaStream_t stream,
                               double *shortest) {
  char why[256];
  std::vector<int32_t> candidates;
  const bool multiplies = cublaslt_ && takes_cublaslt_product(p, why, sizeof why);
  const bool staged = cublaslt_ && T >= least_staged_tokens && takes_staged_product(p, why, sizeof why) &&
                      (T <= most_finished_tokens || !multiplies);
  const bool tiles = tile_ && T <= TileProducts::most_tokens && TileProducts::takes(p, why, sizeof why);
  const bool streams = p.N ? takes_grouped_product(p, why, sizeof why) : takes_stream_product(p, why, sizeof why);
  // Beside tiles the stream was the slower one in every step that was timed.
  if (streams && !tiles && (T <= most_stream_tokens || !(multiplies || staged))) candidates.push_back(Tactics::stream);
  if (tiles) candidates.push_back(Tactics::tile);
  if (multiplies) {
    const int32_t n = cublaslt_algorithms(*cublaslt_, p, T);
    for (int32_t i = 0; i < n; ++i) candidates.push_back(Tactics::first_cublaslt + i);
  }
  if (staged) {
    const int32_t n = staged_algorithms(*cublaslt_, p, T);
    for (int32_t i = 0; i < n; ++i) candidates.push_back(Tactics::first_staged + i);
  }
  int32_t best = Tactics::none;
  for (const int32_t tactic : candidates) {
    const double time = microseconds(p, tactic, T, scratch, stream);
    if (time < 0 || (best != Tactics::none && time >= *shortest)) continue;
    best = tactic;
    *shortest = time;
  }
  return best;
}

double ProductTuner::microseconds(Product p, int32_t tactic, int32_t T, const Scratch &scratch, cudaStream_t stream) {
  // As in a step: weights come from memory, x from the kernel before, and each kernel may begin while that one ends.
  // Products timed right behind one another would have their weights fetched ahead as never in a step.
  const auto launch_turn = [&](size_t turn) {
    const Product next = scratch.product(T, turn);
    const int status = launch(next, tactic, T, scratch.workspace, scratch.workspace_bytes, stream);
    return status ? status : -static_cast<int>(launch_between_products(next, stream));
  };
  // The first launch loads the kernel, which a capture had better not do.
  if (launch_turn(0) || cudaStreamSynchronize(stream) != cudaSuccess) return -1;
  const double work = static_cast<double>(p.F) * p.D * T;
  const size_t launches = work > 1e11 ? 3 : std::max<size_t>(8, std::min<size_t>(scratch.copies, 32));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  cudaEvent_t begin = nullptr, end = nullptr;
  bool good = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  for (size_t i = 0; good && i < launches; ++i) good = launch_turn(i) == 0;
  good = cudaStreamEndCapture(stream, &graph) == cudaSuccess && good && graph;
  good = good && cudaGraphInstantiate(&ready, graph, 0) == cudaSuccess && cudaEventCreate(&begin) == cudaSuccess &&
         cudaEventCreate(&end) == cudaSuccess;
  float shortest = -1;
  for (int i = 0; good && i < 4; ++i) {
    float ms = 0;
    good = cudaEventRecord(begin, stream) == cudaSuccess && cudaGraphLaunch(ready, stream) == cudaSuccess &&
           cudaEventRecord(end, stream) == cudaSuccess && cudaEventSynchronize(end) == cudaSuccess &&
           cudaEventElapsedTime(&ms, begin, end) == cudaSuccess;
    if (good && i > 0 && (shortest < 0 || ms < shortest)) shortest = ms;  // the first warms up
  }
  if (begin) cudaEventDestroy(begin);
  if (end) cudaEventDestroy(end);
  if (ready) cudaGraphExecDestroy(ready);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
  return good && shortest > 0 ? 1000.0 * shortest / static_cast<double>(launches) : -1;
}

}  // namespace ingot
