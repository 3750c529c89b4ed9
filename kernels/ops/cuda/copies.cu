// Copies whose output is contiguous and whose input is walked by strides: Slice, Transpose, Expand, Tile, Reshape,
// Squeeze, Unsqueeze, Flatten, Identity.
#include <algorithm>
#include <cstdio>

#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/launch.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

constexpr int most_dimensions = 2 * INGOT_MAX_RANK;
constexpr int threads = 256;

// Dimensions from the outermost to the innermost; strides, and the place of the first element, in units of the input.
struct StridedCopy {
  const void *in;
  void *out;
  int64_t elements = 1, first = 0, size[most_dimensions], stride[most_dimensions];
  int rank = 0;

  // Dimensions of one element are left out; one that continues the last one becomes one with it.
  void add(int64_t count, int64_t step) {
    elements *= count;
    if (count == 1) return;
    if (rank && stride[rank - 1] == count * step) {
      size[rank - 1] *= count;
      stride[rank - 1] = step;
      return;
    }
    size[rank] = count;
    stride[rank++] = step;
  }

  // As copies of units of `times` elements; false: it does not come out even.
  bool widen(int64_t times) {
    if (!rank || stride[rank - 1] != 1 || size[rank - 1] % times || first % times) return false;
    for (int i = 0; i + 1 < rank; ++i) {
      if (stride[i] % times) return false;
    }
    for (int i = 0; i + 1 < rank; ++i) stride[i] /= times;
    size[rank - 1] /= times;
    first /= times;
    elements /= times;
    return true;
  }
};

template <class Unit, class Index>
__global__ void __launch_bounds__(threads) copy(const StridedCopy p) {
  let_next_launch();
  wait_for_previous();
  const int64_t step = static_cast<int64_t>(gridDim.x) * threads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x; i < p.elements; i += step) {
    int64_t at = p.first;
    auto rest = static_cast<Index>(i);
    for (int k = p.rank - 1; k > 0; --k) {
      const auto size = static_cast<Index>(p.size[k]);
      at += static_cast<int64_t>(rest % size) * p.stride[k];
      rest /= size;
    }
    if (p.rank) at += static_cast<int64_t>(rest) * p.stride[0];
    static_cast<Unit *>(p.out)[i] = static_cast<const Unit *>(p.in)[at];
  }
}

template <class Unit>
int launch_units(const StridedCopy &p, IngotCtx *ctx) {
  const int64_t blocks = std::min<int64_t>((p.elements + threads - 1) / threads, 1 << 20);
  const Grid grid{dim3(static_cast<unsigned>(blocks)), dim3(threads)};
  if (p.elements <= UINT32_MAX) return launch(ctx, "copy", grid, copy<Unit, uint32_t>, p);
  return launch(ctx, "copy", grid, copy<Unit, uint64_t>, p);
}

int launch_copy(StridedCopy p, int64_t bytes, const IngotCall &call, IngotCtx *ctx) {
  p.in = call.in[0].data;
  p.out = call.out[0].data;
  if (p.widen(16 / bytes)) return launch_units<uint4>(p, ctx);
  if (bytes == 8) return launch_units<uint64_t>(p, ctx);
  if (bytes == 4) return launch_units<uint32_t>(p, ctx);
  if (bytes == 2) return launch_units<uint16_t>(p, ctx);
  return launch_units<uint8_t>(p, ctx);
}

struct Strides {
  int64_t at[INGOT_MAX_RANK];

  explicit Strides(const IngotTensor &tensor) {
    int64_t stride = 1;
    for (int32_t i = tensor.rank - 1; i >= 0; --i) {
      at[i] = stride;
      stride *= tensor.shape[i];
    }
  }
};

// An input that lives on the host.
int64_t host_integer(const IngotTensor &tensor, int64_t i) {
  if (tensor.dtype == INGOT_I32) return static_cast<const int32_t *>(tensor.data)[i];
  return static_cast<const int64_t *>(tensor.data)[i];
}

struct Slice {
  explicit Slice(const NodeView &) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &out = call.out[0];
    const Strides from(data);
    int64_t step[INGOT_MAX_RANK];
    StridedCopy copy;
    std::fill_n(step, INGOT_MAX_RANK, 1);
    for (int64_t i = 0; i < count_of(call.in[1]); ++i) {
      int64_t axis = is_there(call, 3) ? host_integer(call.in[3], i) : i, start = host_integer(call.in[1], i);
      axis += axis < 0 ? data.rank : 0;
      const int64_t n = data.shape[axis];
      step[axis] = is_there(call, 4) ? host_integer(call.in[4], i) : 1;
      start += start < 0 ? n : 0;
      copy.first += std::clamp<int64_t>(start, 0, step[axis] > 0 ? n : std::max<int64_t>(n - 1, 0)) * from.at[axis];
    }
    for (int32_t i = 0; i < data.rank; ++i) copy.add(out.shape[i], step[i] * from.at[i]);
    return launch_copy(copy, bytes_of_type(data.dtype), call, ctx);
  }
};

struct Transpose {
  int64_t perm[INGOT_MAX_RANK];
  bool reversed;

  explicit Transpose(const NodeView &node) {
    const int64_t *given = nullptr;
    const int32_t count = node.host->attr_ints(node.node, "perm", &given);
    reversed = count == 0;
    std::copy_n(given, std::min(count, INGOT_MAX_RANK), perm);
  }

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &out = call.out[0];
    const Strides from(data);
    StridedCopy copy;
    for (int32_t i = 0; i < out.rank; ++i) copy.add(out.shape[i], from.at[reversed ? out.rank - 1 - i : perm[i]]);
    return launch_copy(copy, bytes_of_type(data.dtype), call, ctx);
  }
};

struct Expand {
  explicit Expand(const NodeView &) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &out = call.out[0];
    const Strides from(data);
    StridedCopy copy;
    for (int32_t i = 0; i < out.rank; ++i) {
      const int32_t at = i - (out.rank - data.rank);
      copy.add(out.shape[i], at < 0 || data.shape[at] == 1 ? 0 : from.at[at]);
    }
    return launch_copy(copy, bytes_of_type(data.dtype), call, ctx);
  }
};

struct Tile {
  explicit Tile(const NodeView &) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0];
    const Strides from(data);
    StridedCopy copy;
    for (int32_t i = 0; i < data.rank; ++i) {
      copy.add(host_integer(call.in[1], i), 0);
      copy.add(data.shape[i], from.at[i]);
    }
    return launch_copy(copy, bytes_of_type(data.dtype), call, ctx);
  }
};

// The elements stay in their order; where the output lies on the input there is nothing to do.
struct Same {
  explicit Same(const NodeView &) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0];
    if (data.data == call.out[0].data) return 0;
    const int64_t count = count_of(data);
    StridedCopy copy;
    copy.add(is_four_bits(data.dtype) ? (count + 1) / 2 : count, 1);
    return launch_copy(copy, bytes_of_type(data.dtype), call, ctx);
  }
};

int supports_whole_bytes(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  IngotTensor data{};
  ctx->host->input(node, 0, &data);
  if (!is_four_bits(data.dtype)) return 1;
  snprintf(why, n, "it takes no types of 4 bits");
  return 0;
}

constexpr IngotKernel slice[] = {kernel_of<Slice>("copy", supports_whole_bytes)};
constexpr IngotKernel transpose[] = {kernel_of<Transpose>("copy", supports_whole_bytes)};
constexpr IngotKernel expand[] = {kernel_of<Expand>("copy", supports_whole_bytes)};
constexpr IngotKernel tile[] = {kernel_of<Tile>("copy", supports_whole_bytes)};
constexpr IngotKernel same[] = {kernel_of<Same>("copy")};

constexpr IngotOpKernels sets[] = {{"", "Slice", slice, 1},  {"", "Transpose", transpose, 1}, {"", "Expand", expand, 1},
                                   {"", "Tile", tile, 1},    {"", "Identity", same, 1},       {"", "Reshape", same, 1},
                                   {"", "Squeeze", same, 1}, {"", "Unsqueeze", same, 1},      {"", "Flatten", same, 1}};

}  // namespace

std::span<const IngotOpKernels> copy_kernels() { return sets; }

}  // namespace ingot
