// Linear and ScaledLinear on the CPU: which instruction set serves a node, and how its rows are shared between
// threads.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <new>
#include <thread>

#include "ops/cpu/cpu_features.h"
#include "ops/cpu/fast.h"
#include "ops/cpu/product.h"
#include "ops/host.h"

namespace ingot {
namespace {

int64_t bytes_of(int32_t dtype) { return dtype == INGOT_F32 ? 4 : dtype == INGOT_F16 || dtype == INGOT_BF16 ? 2 : 1; }
bool is_float(int32_t dtype) { return dtype == INGOT_F32 || dtype == INGOT_F16 || dtype == INGOT_BF16; }
bool is_code(int32_t dtype) { return dtype == INGOT_F8E4M3 || dtype == INGOT_I8; }
int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int32_t input_dtype(const IngotNode *node, const IngotHost *host, int32_t i) {
  IngotTensor tensor{};
  host->input(node, i, &tensor);
  return tensor.dtype;
}

template <Instructions set>
ProductKernel product_kernel(int32_t x_dtype) {
#if defined(__x86_64__)
  if constexpr (set == Instructions::avx512) {
    const bool pairs = x_dtype == INGOT_BF16 || is_code(x_dtype);
    return pairs && cpu_features().avx512_bf16 ? product_avx512_bf16() : product_avx512();
  }
  if constexpr (set == Instructions::avx2) return product_avx2();
#endif
  static_cast<void>(x_dtype);
  return product_portable();
}

int refuse(char *why, size_t n, const char *reason) {
  snprintf(why, n, "%s", reason);
  return 0;
}

template <Instructions set>
int supports_linear(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  if (!cpu_has(set)) return refuse(why, n, "this CPU does not have the instructions");
  const int32_t x = input_dtype(node, ctx->host, 0), weight = input_dtype(node, ctx->host, 1);
  const int32_t bias = ctx->host->input_count(node) > 2 ? input_dtype(node, ctx->host, 2) : 0;
  if (!is_float(x) || x != weight) return refuse(why, n, "x and weight must both be f32, f16 or bf16");
  if (bias && !is_float(bias)) return refuse(why, n, "bias must be f32, f16 or bf16");
  return 1;
}

template <Instructions set>
int supports_scaled_linear(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  if (!cpu_has(set)) return refuse(why, n, "this CPU does not have the instructions");
  const int32_t x = input_dtype(node, ctx->host, 0), weight = input_dtype(node, ctx->host, 2);
  const int32_t bias = ctx->host->input_count(node) > 4 ? input_dtype(node, ctx->host, 4) : 0;
  if (!is_float(x) && !is_code(x)) return refuse(why, n, "x must be f32, f16, bf16, f8e4m3 or i8");
  if (!is_code(weight)) return refuse(why, n, "weight must be f8e4m3 or i8");
  if (bias && !is_float(bias)) return refuse(why, n, "bias must be f32, f16 or bf16");
  return 1;
}

// What a node's kernel keeps.
struct LinearState {
  ProductKernel product;
};

template <Instructions set>
int create_linear(const IngotNode *node, IngotCtx *ctx, void **self) {
  *self = new (std::nothrow) LinearState{product_kernel<set>(input_dtype(node, ctx->host, 0))};
  return *self ? 0 : ctx->host->error(ctx, "no memory for the state of a linear op");
}

void destroy_linear(void *self) { delete static_cast<LinearState *>(self); }

// One step's call, as the threads see it.
struct Work {
  Product product;
  const ProductKernel &kernel;
  const void *raw_x;  // to be converted to x_TD
  int32_t raw_dtype;
  unsigned char *panels;
  int64_t panel_size, block;
  std::atomic<int64_t> next_block{0};
};

void convert_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<Work *>(arg);
  const int64_t first = begin * work.product.D;
  auto *x = static_cast<unsigned char *>(const_cast<void *>(work.product.x_TD)) + first * bytes_of(work.kernel.x_dtype);
  const auto *raw = static_cast<const unsigned char *>(work.raw_x) + first * bytes_of(work.raw_dtype);
  work.kernel.convert(raw, work.raw_dtype, x, (end - begin) * work.product.D);
}

constexpr int64_t rows_together = 4;

void rows_part(void *arg, int64_t begin, int64_t end) {
  const Work &work = *static_cast<Work *>(arg);
  work.kernel.rows(work.product, begin * rows_together, std::min(end * rows_together, work.product.F), nullptr);
}

// Part i owns panel i and takes blocks of rows until none is left.
void panel_part(void *arg, int64_t begin, int64_t end) {
  Work &work = *static_cast<Work *>(arg);
  for (int64_t i = begin; i < end; ++i) {
    for (;;) {
      const int64_t first = work.next_block.fetch_add(1, std::memory_order_relaxed) * work.block;
      if (first >= work.product.F) break;
      const int64_t last = std::min(first + work.block, work.product.F);
      work.kernel.rows(work.product, first, last, work.panels + i * work.panel_size);
    }
  }
}

// About how long a row takes, in nanoseconds: its bytes come from the cache at best, and each token costs its
// products.
double row_time(const Product &p) {
  const auto bytes = static_cast<double>(bytes_of(p.weight_dtype)), tokens = static_cast<double>(p.T);
  return static_cast<double>(p.D) * (0.02 * bytes + 0.01 * tokens);
}

constexpr double part_time = 3000;  // nanoseconds: less is not worth handing to another thread

int64_t panels_size(const ProductKernel &kernel, int64_t D) { return panel_bytes(D, bytes_of(kernel.x_dtype)); }

int64_t x_bytes(const ProductKernel &kernel, int32_t x_dtype, int64_t T, int64_t D) {
  return x_dtype == kernel.x_dtype ? 0 : padded(T * D * bytes_of(kernel.x_dtype));
}

bool wants_panels(const ProductKernel &kernel, int32_t weight_dtype, int64_t T) {
  return is_code(weight_dtype) && T > kernel.tile_tokens;
}

// Room for x in the kernel's type, then a panel for each thread that this machine can run at once.
template <Instructions set, int32_t weight_input>
size_t workspace_of(const IngotNode *node, const int64_t *dims) {
  const int64_t T = dims[0], D = dims[1];
  const int32_t x_dtype = input_dtype(node, host_services(), 0);
  const int32_t weight_dtype = input_dtype(node, host_services(), weight_input);
  const ProductKernel kernel = product_kernel<set>(x_dtype);
  const int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  const int64_t panels = wants_panels(kernel, weight_dtype, T) ? threads * panels_size(kernel, D) : 0;
  return static_cast<size_t>(x_bytes(kernel, x_dtype, T, D) + panels);
}

int run(const LinearState &state, Product product, int32_t x_dtype, IngotCtx *ctx) {
  if (product.T == 0 || product.F == 0) return 0;
  const ProductKernel &kernel = state.product;
  auto *scratch = static_cast<unsigned char *>(ctx->workspace);
  const int64_t for_x = x_bytes(kernel, x_dtype, product.T, product.D), size = panels_size(kernel, product.D);
  const auto available = static_cast<int64_t>(scratch ? ctx->workspace_bytes : 0);
  if (available < for_x) {
    return ctx->host->error(ctx, "a linear op needs %lld bytes of workspace and got %lld",
                            static_cast<long long>(for_x), static_cast<long long>(available));
  }
  const int64_t block = block_rows(product.D, bytes_of(kernel.x_dtype));
  Work work{product, kernel, product.x_TD, x_dtype, scratch + for_x, size, block};
  if (for_x) {
    work.product.x_TD = scratch;
    ctx->host->parallel_for(ctx, product.T, 65536 / (product.D + 1) + 1, convert_part, &work);
  }
  const int64_t panels = wants_panels(kernel, product.weight_dtype, product.T) ? (available - for_x) / size : 0;
  const auto grain = static_cast<int64_t>(part_time / (row_time(product) + 1));
  if (panels > 0) {
    const int64_t blocks = std::min((product.F - 1) / work.block, product.F / (grain + 1)) + 1;
    ctx->host->parallel_for(ctx, std::min({panels, std::max<int64_t>(ctx->sm_count, 1), blocks}), 1, panel_part, &work);
  } else {
    ctx->host->parallel_for(ctx, (product.F - 1) / rows_together + 1, grain / rows_together + 1, rows_part, &work);
  }
  return 0;
}

bool present(const IngotCall *call, int32_t i) { return i < call->n_in && call->in[i].data; }

int enqueue_linear(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0], &weight = call->in[1], &y = call->out[0];
  Product product{};
  product.T = x.shape[0];
  product.D = x.shape[1];
  product.F = weight.shape[0];
  product.x_TD = x.data;
  product.weight_FD = weight.data;
  product.weight_dtype = weight.dtype;
  if (present(call, 2)) {
    product.bias_F = call->in[2].data;
    product.bias_dtype = call->in[2].dtype;
  }
  product.y_TF = y.data;
  product.y_dtype = y.dtype;
  return run(*static_cast<LinearState *>(self), product, x.dtype, ctx);
}

int enqueue_scaled_linear(void *self, const IngotCall *call, int32_t, IngotCtx *ctx) {
  const IngotTensor &x = call->in[0], &weight = call->in[2], &scale = call->in[3], &y = call->out[0];
  Product product{};
  product.T = x.shape[0];
  product.D = x.shape[1];
  product.F = weight.shape[0];
  product.x_TD = x.data;
  product.weight_FD = weight.data;
  product.weight_dtype = weight.dtype;
  if (present(call, 1)) product.x_scale_T = static_cast<const float *>(call->in[1].data);
  product.scale = static_cast<const float *>(scale.data);
  product.scale_per_row = scale.rank == 1 && scale.shape[0] == product.F;
  if (present(call, 4)) {
    product.bias_F = call->in[4].data;
    product.bias_dtype = call->in[4].dtype;
  }
  product.y_TF = y.data;
  product.y_dtype = y.dtype;
  return run(*static_cast<LinearState *>(self), product, x.dtype, ctx);
}

template <Instructions set>
constexpr IngotKernel linear_kernel(const char *name) {
  return {name,
          INGOT_CPU,
          0,
          0,
          INGOT_BATCH_INVARIANT,
          supports_linear<set>,
          nullptr,
          workspace_of<set, 1>,
          nullptr,
          create_linear<set>,
          nullptr,
          enqueue_linear,
          destroy_linear};
}

template <Instructions set>
constexpr IngotKernel scaled_linear_kernel(const char *name) {
  return {name,
          INGOT_CPU,
          0,
          0,
          INGOT_BATCH_INVARIANT,
          supports_scaled_linear<set>,
          nullptr,
          workspace_of<set, 2>,
          nullptr,
          create_linear<set>,
          nullptr,
          enqueue_scaled_linear,
          destroy_linear};
}

constexpr IngotKernel linear_table[] = {
#if defined(__x86_64__)
    linear_kernel<Instructions::avx512>("avx512"),
    linear_kernel<Instructions::avx2>("avx2"),
#endif
    linear_kernel<Instructions::portable>("portable"),
};

constexpr IngotKernel scaled_linear_table[] = {
#if defined(__x86_64__)
    scaled_linear_kernel<Instructions::avx512>("avx512"),
    scaled_linear_kernel<Instructions::avx2>("avx2"),
#endif
    scaled_linear_kernel<Instructions::portable>("portable"),
};

}  // namespace

std::span<const IngotKernel> linear_kernels() { return linear_table; }
std::span<const IngotKernel> scaled_linear_kernels() { return scaled_linear_table; }

}  // namespace ingot
