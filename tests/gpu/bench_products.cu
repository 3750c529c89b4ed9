// Times the products of Llama-2-7B by every kernel, and checks each kernel against the plain one on the way.
//
//   nvcc -std=c++20 -O3 -gencode arch=compute_90a,code=sm_90a --expt-relaxed-constexpr -Ikernels -Ikernels/include
//        tests/gpu/bench_products.cu kernels/ops/cuda/product*.cu -ldl -o bench_products
//        kernels/ops/cuda/{cublaslt,cublaslt_library,tactics,product_tuner,product_staged}.cc
//   ./bench_products [check] [single] [chain] [tune]      all without arguments
//
// "single": one shape after another, each launch another copy of the weights, so that the L2 cache holds none, inside a
// CUDA graph. "chain": the four products of 32 layers, each reading what the one before wrote, all by one kernel or
// each by the one that the tuner or the rule chose; "chain+": with a small kernel after each. "tune": what the tuner
// chooses, and how long it takes; its file goes to XDG_CACHE_HOME.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "ops/cuda/cublaslt.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/product.h"
#include "ops/cuda/product_tile.h"
#include "ops/cuda/product_tuner.h"

using namespace ingot;

#define CHECK(call)                                                                    \
  do {                                                                                 \
    const cudaError_t error = (call);                                                  \
    if (error != cudaSuccess) {                                                        \
      printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error)); \
      exit(1);                                                                         \
    }                                                                                  \
  } while (0)

namespace {

struct Shape {
  const char *name;
  int F, D;
};
constexpr Shape layer[] = {{"qkv", 12288, 4096}, {"o", 4096, 4096}, {"gate_up", 22016, 4096}, {"down", 4096, 11008}};
constexpr Shape head = {"head", 32000, 4096};

struct Types {
  const char *name;
  int x, weight, y;
  bool token_scales, row_scales;
  int group = 0;
};
constexpr Types bf16 = {"bf16", INGOT_BF16, INGOT_BF16, INGOT_BF16, false, false};
constexpr Types f16 = {"f16", INGOT_F16, INGOT_F16, INGOT_F16, false, false};
constexpr Types fp8 = {"fp8", INGOT_F8E4M3, INGOT_F8E4M3, INGOT_BF16, true, true};
constexpr Types fp8_tensor = {"fp8_tensor", INGOT_F8E4M3, INGOT_F8E4M3, INGOT_BF16, true, false};
constexpr Types int8 = {"int8", INGOT_I8, INGOT_I8, INGOT_BF16, true, true};
constexpr Types fp8_weights = {"fp8_weights", INGOT_BF16, INGOT_F8E4M3, INGOT_BF16, false, true};
constexpr Types int8_weights = {"int8_weights", INGOT_F16, INGOT_I8, INGOT_F16, false, true};
constexpr Types int4_weights = {"int4_weights", INGOT_BF16, INGOT_I4, INGOT_BF16, false, false, 128};

int bytes_of(int dtype) { return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1; }

size_t weight_bytes(const Types &types, size_t n) {
  return types.weight == INGOT_I4 ? n / 2 : n * static_cast<size_t>(bytes_of(types.weight));
}

__global__ void fill(uint8_t *data, size_t n, int dtype, unsigned seed) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    unsigned h = static_cast<unsigned>(i) * 2654435761u + seed * 40503u;
    h ^= h >> 15, h *= 2246822519u, h ^= h >> 13, h *= 3266489917u, h ^= h >> 16;
    const float value = static_cast<float>(h & 0xffff) / 32768.0f - 1.0f;  // [-1, 1)
    if (dtype == INGOT_F32) reinterpret_cast<float *>(data)[i] = value * 0.01f + 0.02f;
    if (dtype == INGOT_BF16)
      reinterpret_cast<uint16_t *>(data)[i] = static_cast<uint16_t>(__float_as_uint(value) >> 16);
    if (dtype == INGOT_F16) reinterpret_cast<uint16_t *>(data)[i] = static_cast<uint16_t>(0x2c00 + (h & 0x83ff));
    if (dtype == INGOT_F8E4M3) data[i] = static_cast<uint8_t>((h & 0x7f) == 0x7f ? 0 : h & 0xbf);
    if (dtype == INGOT_I8 || dtype == INGOT_I4) data[i] = static_cast<uint8_t>(h);
  }
}

void *random(size_t n, int dtype, unsigned seed) {
  void *data = nullptr;
  CHECK(cudaMalloc(&data, std::max<size_t>(n * static_cast<size_t>(bytes_of(dtype)), 256)));
  fill<<<1024, 256>>>(static_cast<uint8_t *>(data), n, dtype, seed);
  CHECK(cudaGetLastError());
  return data;
}

int multiprocessors = 0;

Product product(const Types &types, const Shape &shape, int T) {
  Product p{};
  p.sm = 90, p.sm_count = multiprocessors;
  p.T = T, p.F = shape.F, p.D = shape.D;
  p.x_dtype = types.x, p.weight_dtype = types.weight, p.y_dtype = types.y;
  if (types.token_scales) p.x_scale_dtype = INGOT_F32;
  if (types.group) {
    p.N = p.D / types.group, p.group_scale_dtype = INGOT_BF16;
    return p;
  }
  if (types.token_scales || types.x != types.weight) p.scale_dtype = INGOT_F32, p.scale_step = types.row_scales;
  return p;
}

struct Kernel {
  std::string name;
  std::function<int(const Product &, cudaStream_t)> launch;
};

constexpr size_t workspace_bytes = size_t{128} << 20;
void *workspace;
CublasLt *lt;
TileProducts *tile;

std::vector<Kernel> kernels_of(const Product &p) {
  char why[256];
  std::vector<Kernel> kernels;
  if (takes_grouped_product(p, why, sizeof why) && p.T <= 300) {
    kernels.push_back({"stream", [](const Product &q, cudaStream_t stream) {
                         return static_cast<int>(launch_grouped_product(q, stream));
                       }});
  }
  if (takes_stream_product(p, why, sizeof why) && p.T <= 300) {
    kernels.push_back({"stream", [](const Product &q, cudaStream_t stream) {
                         return static_cast<int>(launch_stream_product(q, stream));
                       }});
  }
  if (tile && p.T <= TileProducts::most_tokens && TileProducts::takes(p, why, sizeof why)) {
    kernels.push_back({"tile", [](const Product &q, cudaStream_t stream) {
                         return static_cast<int>(tile->launch(q, workspace, workspace_bytes, stream));
                       }});
  }
  if (lt && takes_cublaslt_product(p, why, sizeof why)) {
    const int n = cublaslt_algorithms(*lt, p, p.T);
    for (int i = 0; i < n; ++i) {
      kernels.push_back({"cublaslt" + std::to_string(i), [i](const Product &q, cudaStream_t stream) {
                           return launch_cublaslt_product(*lt, q, q.T, i, workspace, workspace_bytes, stream);
                         }});
    }
  }
  if (lt && p.T >= 32 && takes_staged_product(p, why, sizeof why)) {
    const int n = staged_algorithms(*lt, p, p.T);
    for (int i = 0; i < n; ++i) {
      kernels.push_back({"staged" + std::to_string(i), [i](const Product &q, cudaStream_t stream) {
                           return launch_staged_product(*lt, q, q.T, i, workspace, workspace_bytes, stream);
                         }});
    }
  }
  return kernels;
}

// Median microseconds of what `enqueue` puts into a graph; negative: it refused.
double microseconds(const std::function<int(cudaStream_t)> &enqueue) {
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  if (enqueue(stream)) return -1;
  CHECK(cudaStreamSynchronize(stream));
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  const int status = enqueue(stream);
  CHECK(cudaStreamEndCapture(stream, &graph));
  if (status) return -1;
  CHECK(cudaGraphInstantiate(&ready, graph, 0));
  cudaEvent_t begin, end;
  CHECK(cudaEventCreate(&begin));
  CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < 13; ++i) {
    CHECK(cudaEventRecord(begin, stream));
    CHECK(cudaGraphLaunch(ready, stream));
    CHECK(cudaEventRecord(end, stream));
    CHECK(cudaEventSynchronize(end));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (i > 2) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  CHECK(cudaGraphExecDestroy(ready));
  CHECK(cudaGraphDestroy(graph));
  CHECK(cudaStreamDestroy(stream));
  return times[times.size() / 2] * 1000.0;
}

std::vector<float> floats_of(const void *data, int dtype, size_t n) {
  std::vector<uint8_t> raw(n * static_cast<size_t>(bytes_of(dtype)));
  CHECK(cudaMemcpy(raw.data(), data, raw.size(), cudaMemcpyDeviceToHost));
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) {
    if (dtype == INGOT_F32) {
      memcpy(&values[i], &raw[4 * i], 4);
      continue;
    }
    uint16_t half;
    memcpy(&half, &raw[2 * i], 2);
    if (dtype == INGOT_BF16) {
      const uint32_t bits = static_cast<uint32_t>(half) << 16;
      memcpy(&values[i], &bits, 4);
    } else {
      const int exponent = half >> 10 & 31, fraction = half & 1023;
      const float size = exponent ? std::ldexp(1024.0f + static_cast<float>(fraction), exponent - 25)
                                  : std::ldexp(static_cast<float>(fraction), -24);
      values[i] = half >> 15 ? -size : size;
    }
  }
  return values;
}

void check() {
  int bad = 0, done = 0;
  for (const Types &types : {bf16, f16, fp8, fp8_tensor, int8, fp8_weights, int8_weights, int4_weights}) {
    for (const Shape &shape : {Shape{"odd", 1104, 336}, Shape{"o", 4096, 4096}, Shape{"down", 4096, 11008}}) {
      if (types.group && shape.D % types.group) continue;
      std::vector<std::pair<std::string, std::vector<float>>> first_rows;
      const auto F = static_cast<size_t>(shape.F), D = static_cast<size_t>(shape.D);
      void *weight = random(F * D, types.weight, 1), *x = random(300 * D, types.x, 2);
      void *scale = random(F, INGOT_F32, 3), *x_scale = random(300, INGOT_F32, 4);
      void *group_scale = random(F * D / 128 + 1, INGOT_BF16, 7);
      void *bias = random(F, types.y, 5), *y = random(300 * F, INGOT_F32, 6);
      const std::vector<float> biases = floats_of(bias, types.y, F);
      for (const int T : {1, 2, 7, 8, 9, 16, 17, 33, 64, 65, 257}) {
        for (const bool with_bias : {false, true}) {
          Product p = product(types, shape, T);
          p.weight_FD = weight, p.x_TD = x, p.y_TF = y;
          if (p.N) p.group_scale_FN = group_scale;
          if (p.scale_dtype) p.scale_F = static_cast<float *>(scale);
          if (p.x_scale_dtype) p.x_scale_T = static_cast<float *>(x_scale);
          if (with_bias) p.bias_F = bias, p.bias_dtype = types.y;
          const size_t n = static_cast<size_t>(T) * F;
          CHECK(launch_plain_product(p, nullptr));
          CHECK(cudaDeviceSynchronize());
          const std::vector<float> wanted = floats_of(y, types.y, n);
          double norm = 0;
          for (const float value : wanted) norm += static_cast<double>(value) * value;
          norm = std::sqrt(norm / static_cast<double>(n));
          for (const Kernel &kernel : kernels_of(p)) {
            if (kernel.name.starts_with("cublaslt") && kernel.name != "cublaslt0") continue;
            if (kernel.name.starts_with("staged") && kernel.name != "staged0") continue;
            CHECK(cudaMemset(y, 0xff, n * static_cast<size_t>(bytes_of(types.y))));
            const int status = kernel.launch(p, nullptr);
            CHECK(cudaDeviceSynchronize());
            const std::vector<float> found = floats_of(y, types.y, n);
            // Both round once to y, by half a unit each. The sums differ by what their orders add, a part of the sum
            // of magnitudes, which for numbers of random signs is about sqrt(D) times their size; tensor cores that
            // multiply e4m3 keep 14 bits for up to 128 products (test_products.py says more).
            // Weights in groups are rounded to 16 bits in stages; the rounding of each is independent.
            // cuBLASLt rounds a split sum once more before it adds the bias.
            const bool rounds = types.group && kernel.name.starts_with("staged");
            const double half_unit = std::ldexp(1.0, types.y == INGOT_BF16 ? -8 : -11);
            const bool short_sums = types.weight == INGOT_F8E4M3 && types.x == INGOT_F8E4M3;
            const double order = (short_sums ? 1e-4 : 1e-6) * std::sqrt(static_cast<double>(shape.D)) * norm +
                                 (rounds ? 8 * half_unit / 2 * norm : 0);
            const bool again = with_bias && (rounds || kernel.name.starts_with("cublaslt"));
            double worst = 0;
            size_t where = 0;
            for (size_t i = 0; i < n; ++i) {
              const double unbiased = again ? std::abs(wanted[i] - biases[i % F]) : 0;
              const double error = std::abs(static_cast<double>(found[i]) - wanted[i]) /
                                   (half_unit * (2 * std::abs(wanted[i]) + unbiased) + order + 1e-7);
              if (!(error <= worst)) worst = error, where = i;
            }
            ++done;
            if (status || !(worst <= 1.001)) {
              ++bad;
              printf(
                  "WRONG %s %s T=%d bias=%d %s: status %d, %.3g of the "
                  "bound at token %zu row %zu: %g, not %g\n",
                  types.name, shape.name, T, with_bias, kernel.name.c_str(), status, worst, where / F, where % F,
                  found[where], wanted[where]);
            }
            if (kernel.name == "stream" && !with_bias) {
              if (T == 1)
                first_rows.push_back({kernel.name, std::vector<float>(found.begin(), found.begin() + shape.F)});
              for (auto &[name, row] : first_rows) {
                if (!std::equal(row.begin(), row.end(), found.begin())) {
                  ++bad;
                  printf("NOT INVARIANT %s %s T=%d %s and %s\n", types.name, shape.name, T, name.c_str(),
                         kernel.name.c_str());
                }
              }
            }
          }
        }
      }
      for (void *data : {weight, x, scale, x_scale, bias, y, group_scale}) CHECK(cudaFree(data));
    }
  }
  printf("check: %d comparisons, %d wrong\n", done, bad);
}

// The quickest of several algorithms of one kind.
struct Best {
  const char *kind;
  double us = 0;
  int which = 0;

  bool note(const Kernel &kernel, double time) {
    if (!kernel.name.starts_with(kind)) return false;
    if (time > 0 && (us == 0 || time < us)) us = time, which = atoi(kernel.name.c_str() + strlen(kind));
    return true;
  }
};

void single() {
  std::vector<Shape> shapes(std::begin(layer), std::end(layer));
  shapes.push_back(head);
  for (const Types &types : {bf16, fp8, int8, fp8_weights, int4_weights}) {
    const bool usual = types.x == types.weight && types.x != INGOT_I8;
    for (const Shape &shape : shapes) {
      if (!usual && shape.F != layer[2].F && shape.D != layer[3].D) continue;
      const size_t elements = static_cast<size_t>(shape.F) * static_cast<size_t>(shape.D);
      const auto bytes = static_cast<double>(weight_bytes(types, elements));
      const int copies = std::max(4, static_cast<int>(600e6 / bytes)), launches = std::max(16, copies);
      auto *weights = static_cast<uint8_t *>(random(elements * static_cast<size_t>(copies), types.weight, 1));
      void *x = random(size_t{2048} * static_cast<size_t>(shape.D), types.x, 2);
      void *y = random(size_t{2048} * static_cast<size_t>(shape.F), types.y, 3);
      void *scale = random(static_cast<size_t>(shape.F), INGOT_F32, 4), *x_scale = random(2048, INGOT_F32, 5);
      void *group_scale = random(elements / 128, INGOT_BF16, 7);
      for (const int T : {1, 8, 16, 32, 64, 128, 256, 2048}) {
        if (!usual && T != 1 && T < 64) continue;
        Product p = product(types, shape, T);
        p.x_TD = x, p.y_TF = y;
        if (p.N) p.group_scale_FN = group_scale;
        if (p.scale_dtype) p.scale_F = static_cast<float *>(scale);
        if (p.x_scale_dtype) p.x_scale_T = static_cast<float *>(x_scale);
        Best cublaslt{"cublaslt"}, staged{"staged"};
        printf("%-12s %-8s T=%-5d", types.name, shape.name, T);
        for (const Kernel &kernel : kernels_of(p)) {
          const double us = microseconds([&](cudaStream_t stream) {
                              for (int i = 0; i < launches; ++i) {
                                p.weight_FD = weights + weight_bytes(types, elements) * static_cast<size_t>(i % copies);
                                if (const int status = kernel.launch(p, stream)) return status;
                              }
                              return 0;
                            }) /
                            launches;
          if (cublaslt.note(kernel, us) || staged.note(kernel, us)) continue;
          printf("  %s %.1f us %.2f", kernel.name.c_str(), us, bytes / us / 1e6);
        }
        for (const Best &best : {cublaslt, staged}) {
          if (best.us > 0) printf("  %s(%d) %.1f us %.2f", best.kind, best.which, best.us, bytes / best.us / 1e6);
        }
        printf("\n");
        fflush(stdout);
      }
      for (void *data : {static_cast<void *>(weights), x, y, scale, x_scale, group_scale}) CHECK(cudaFree(data));
    }
  }
}

// Stands for the small kernels between products: one block a token, 8 KB of what the product wrote become the next
// one's x.
__global__ void pass_on(const uint4 *from, uint4 *to) {
  let_next_launch();
  wait_for_previous();
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  to[i] = from[i];
}

int launch_pass_on(int T, const void *from, void *to, cudaStream_t stream) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(T));
  config.blockDim = dim3(512);
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = 1;
  return static_cast<int>(
      cudaLaunchKernelEx(&config, pass_on, static_cast<const uint4 *>(from), static_cast<uint4 *>(to)));
}

void chain() {
  std::string why;
  ProductTuner tuner(&why);
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  for (const Types &types : {bf16, fp8}) {
    size_t elements = 0;
    for (const Shape &shape : layer) elements += static_cast<size_t>(shape.F) * static_cast<size_t>(shape.D);
    const int layers = 32;
    const auto width = static_cast<size_t>(bytes_of(types.weight));
    auto *weights = static_cast<uint8_t *>(random(elements * layers, types.weight, 1));
    void *buffers[2] = {random(size_t{256} * 22016, INGOT_BF16, 2), random(size_t{256} * 22016, INGOT_BF16, 3)};
    void *scale = random(22016, INGOT_F32, 4), *x_scale = random(256, INGOT_F32, 5);
    for (const Shape &shape : layer) tuner.tune(product(types, shape, 128), "", true, stream);
    for (const int T : {1, -1, 4, 8, -8, 16, 32, 64, 128}) {
      const bool between = T < 0;  // a small kernel after each product
      for (const char *which : {"tuned", "stream", "tile", "cublaslt0", "staged0"}) {
        const double us = microseconds([&](cudaStream_t stream) {
          size_t at = 0;
          int turn = 0;
          for (int l = 0; l < layers; ++l) {
            for (const Shape &shape : layer) {
              Product p = product(types, shape, std::abs(T));
              p.x_TD = buffers[turn % 2], p.y_TF = buffers[1 - turn % 2], p.weight_FD = weights + at * width;
              ++turn;
              if (p.scale_dtype) p.scale_F = static_cast<float *>(scale);
              if (p.x_scale_dtype) p.x_scale_T = static_cast<float *>(x_scale);
              int status = -1;
              const int bucket = tactic_bucket(p.T), timed = tuner.tactic(p, bucket);
              const int tactic = timed == Tactics::none ? Tactics::stream : timed;  // the rule, up to 8 tokens
              if (!strcmp(which, "tuned")) {
                status = tuner.launch(p, tactic, bucket, workspace, workspace_bytes, stream);
              }
              for (const Kernel &kernel : kernels_of(p)) {
                if (kernel.name == which) status = kernel.launch(p, stream);
              }
              if (!status && between) {
                status = launch_pass_on(p.T, buffers[turn % 2], buffers[1 - turn % 2], stream);
                ++turn;
              }
              if (status) return status;
              at += static_cast<size_t>(shape.F) * static_cast<size_t>(shape.D);
            }
          }
          return 0;
        });
        if (us < 0) continue;
        printf("chain%s %-5s T=%-4d %-9s %.3f ms a pass of 32 layers, %.2f TB/s\n", between ? "+" : "", types.name,
               std::abs(T), which, us / 1000,
               static_cast<double>(elements) * layers * static_cast<double>(width) / us / 1e6);
        fflush(stdout);
      }
    }
    for (void *data : {static_cast<void *>(weights), buffers[0], buffers[1], scale, x_scale}) CHECK(cudaFree(data));
  }
}

void tune() {
  std::string why;
  ProductTuner tuner(&why);
  std::vector<Shape> shapes(std::begin(layer), std::end(layer));
  shapes.push_back(head);
  cudaStream_t stream;
  CHECK(cudaStreamCreate(&stream));
  for (const Types &types : {bf16, fp8, int4_weights}) {
    for (const Shape &shape : shapes) {
      const auto begin = std::chrono::steady_clock::now();
      tuner.tune(product(types, shape, 8192), "", true, stream);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      printf("tune %-5s %-8s %.2f s:", types.name, shape.name, seconds.count());
      for (int T = 16; T <= 8192; T *= 2) printf(" %d:%d", T, tuner.tactic(product(types, shape, T), T));
      printf("\n");
      fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char **argv) {
  const auto wanted = [&](const char *name) {
    return argc < 2 || std::any_of(argv + 1, argv + argc, [&](const char *word) { return !strcmp(word, name); });
  };
  std::string why;
  CHECK(cudaMalloc(&workspace, workspace_bytes));
  CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
  lt = CublasLt::open(&why);
  tile = TileProducts::open().release();
  printf("tile: %s; cuBLASLt: %s\n", tile ? "yes" : "no",
         lt ? (lt->path() + " " + std::to_string(lt->version())).c_str() : why.c_str());
  if (wanted("check")) check();
  if (wanted("single")) single();
  if (wanted("chain")) chain();
  if (wanted("tune")) tune();
  return 0;
}
