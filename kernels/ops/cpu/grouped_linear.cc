// GroupedLinear on the CPU: which instruction set serves a node, and how its rows are shared between threads.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <new>
#include <thread>

#include "ops/cpu/cpu_features.h"
#include "ops/cpu/fast.h"
#include "ops/cpu/grouped_product.h"
#include "ops/host.h"

namespace ingot {
namespace {

enum Input { x_input, codes_input, scale_input, zero_input, bias_input };

IngotTensor input_of(const IngotNode *node, const IngotHost *host, int32_t i) {
  IngotTensor tensor{};
  if (i < host->input_count(node)) host->input(node, i, &tensor);
  return tensor;
}

template <Instructions set>
GroupedKernel grouped_kernel(int32_t x_dtype, int32_t code_dtype, int64_t group, int64_t D) {
#if defined(__x86_64__)
  if constexpr (set == Instructions::avx512) {
    const bool pairs = x_dtype == INGOT_BF16 && cpu_features().avx512_bf16;
    return pairs && grouped_avx512_bf16_takes(code_dtype, group, D) ? grouped_avx512_bf16() : grouped_avx512();
  }
  if constexpr (set == Instructions::avx2) return grouped_avx2();
#endif
  static_cast<void>(x_dtype), static_cast<void>(code_dtype), static_cast<void>(group), static_cast<void>(D);
  return grouped_portable();
}

template <Instructions set>
int supports(const IngotNode *, const IngotCtx *, char *why, size_t n) {
  if (cpu_has(set)) return 1;
  snprintf(why, n, "this CPU does not have the instructions");
  return 0;
}

// What is known of a node before it runs; its memory is not.
GroupedProduct shape_of(const IngotNode *node, const IngotHost *host) {
  const IngotTensor codes = input_of(node, host, codes_input), scale = input_of(node, host, scale_input);
  GroupedProduct p{};
  p.product.D = codes.shape[1];
  p.product.F = codes.shape[0];
  p.product.weight_dtype = codes.dtype;
  p.group = codes.shape[1] / scale.shape[1];
  p.scale_dtype = scale.dtype;
  p.zero_FN = input_of(node, host, zero_input).dtype ? "there is one" : nullptr;
  return p;
}

struct State {
  GroupedKernel kernel;
  GroupedProduct product;
};

template <Instructions set>
State state_of(const IngotNode *node, const IngotHost *host) {
  const GroupedProduct p = shape_of(node, host);
  const int32_t x = input_of(node, host, x_input).dtype;
  return {grouped_kernel<set>(x, p.product.weight_dtype, p.group, p.product.D), p};
}

template <Instructions set>
int create(const IngotNode *node, IngotCtx *ctx, void **self) {
  *self = new (std::nothrow) State(state_of<set>(node, ctx->host));
  return *self ? 0 : ctx->host->error(ctx, "no memory for the state of a linear op");
}

void destroy(void *self) { delete static_cast<State *>(self); }

// One step's call, as the threads see it.
struct Work {
  const GroupedProduct &product;
  const GroupedKernel &kernel;
  const void *raw_x;  // to be converted to x_TD
  int32_t raw_dtype;
  unsigned char *scratch;
  int64_t scratch_bytes, block;
  std::atomic<int64_t> next_block{0};
};

void convert_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<Work *>(arg);
  work.kernel.convert(work.product, work.raw_x, work.raw_dtype, begin, end,
                      const_cast<void *>(work.product.product.x_TD));
}

// Part i owns scratch i and takes blocks of rows until none is left.
void rows_part(void *arg, int64_t begin, int64_t end) {
  Work &work = *static_cast<Work *>(arg);
  const int64_t F = work.product.product.F;
  for (int64_t i = begin; i < end; ++i) {
    for (;;) {
      const int64_t first = work.next_block.fetch_add(1, std::memory_order_relaxed) * work.block;
      if (first >= F) break;
      work.kernel.rows(work.product, first, std::min(first + work.block, F), work.scratch + i * work.scratch_bytes);
    }
  }
}

// Room for x as the kernel reads it, then scratch for each thread that this machine can run at once.
template <Instructions set>
size_t workspace(const IngotNode *node, const int64_t *dims) {
  State state = state_of<set>(node, host_services());
  state.product.product.T = dims[0];
  const int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  const int64_t x = dims[0] * state.kernel.x_bytes(state.product);
  return static_cast<size_t>(x + threads * state.kernel.scratch_bytes(state.product) + 64);
}

// Rows that a thread takes at a time. What it reads next is fetched ahead, but not beyond them: few would be mostly
// waits.
int64_t block_of(int64_t F, int64_t threads) {
  constexpr int64_t least = 32, blocks_per_thread = 8;
  return std::max(least, F / (threads * blocks_per_thread) / least * least);
}

constexpr double part_time = 3000;  // nanoseconds: less is not worth handing to another thread

int run(const State &state, const GroupedProduct &p, const IngotTensor &x, IngotCtx *ctx) {
  const Product &product = p.product;
  if (product.T == 0 || product.F == 0) return 0;
  const int64_t for_x = product.T * state.kernel.x_bytes(p), size = state.kernel.scratch_bytes(p);
  const auto available = static_cast<int64_t>(ctx->workspace ? ctx->workspace_bytes : 0) - for_x;
  if (available < size) {
    return ctx->host->error(ctx, "a linear op needs %lld bytes of workspace and got %lld",
                            static_cast<long long>(for_x + size), static_cast<long long>(available + for_x));
  }
  auto *memory = static_cast<unsigned char *>(ctx->workspace);
  GroupedProduct ready = p;
  ready.product.x_TD = memory;
  Work work{ready,
            state.kernel,
            x.data,
            x.dtype,
            memory + for_x,
            size,
            block_of(product.F, std::max<int64_t>(ctx->sm_count, 1))};
  ctx->host->parallel_for(ctx, product.T, 65536 / (product.D + 1) + 1, convert_part, &work);
  const double row_time = static_cast<double>(product.D) * (0.02 + 0.01 * static_cast<double>(product.T));
  const auto grain = static_cast<int64_t>(part_time / (row_time + 1));
  const int64_t blocks = std::min((product.F - 1) / work.block, product.F / (grain + 1)) + 1;
  const int64_t parts = std::min({available / size, std::max<int64_t>(ctx->sm_count, 1), blocks});
  ctx->host->parallel_for(ctx, parts, 1, rows_part, &work);
  return 0;
}

bool present(const IngotCall *call, int32_t i) { return i < call->n_in && call->in[i].data; }

int enqueue(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const State &state = *static_cast<State *>(self);
  const IngotTensor &x = call->in[x_input];
  GroupedProduct p = state.product;
  p.product.T = x.shape[0];
  p.product.weight_FD = call->in[codes_input].data;
  p.scale_FN = call->in[scale_input].data;
  p.zero_FN = present(call, zero_input) ? call->in[zero_input].data : nullptr;
  if (present(call, bias_input)) {
    p.product.bias_F = call->in[bias_input].data;
    p.product.bias_dtype = call->in[bias_input].dtype;
  }
  p.product.y_TF = call->out[0].data;
  p.product.y_dtype = call->out[0].dtype;
  return run(state, p, x, ctx);
}

template <Instructions set>
constexpr IngotKernel kernel(const char *name) {
  return {
      name,        INGOT_CPU, 0,       0,      INGOT_BATCH_INVARIANT, supports<set>, nullptr, workspace<set>, nullptr,
      create<set>, nullptr,   enqueue, destroy};
}

constexpr IngotKernel table[] = {
#if defined(__x86_64__)
    kernel<Instructions::avx512>("avx512"),
    kernel<Instructions::avx2>("avx2"),
#endif
    kernel<Instructions::portable>("portable"),
};

}  // namespace

std::span<const IngotKernel> grouped_linear_kernels() { return table; }

}  // namespace ingot
