// Split, Concat: all parts in one launch.
#include <algorithm>
#include <cstdio>
#include <numeric>

#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/slices.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

constexpr int most_parts = 16;  // of a launch

// Parts of each row of a whole; what is counted are units.
struct Parts {
  void *whole, *part[most_parts];  // NULL: nobody wants it
  int64_t first[most_parts + 1];   // where a part begins in a row, and where the last one ends
  int64_t rows, width;
  int count;
};

template <class Unit, bool split>
__global__ void __launch_bounds__(slice_threads) move_parts(const Parts p) {
  let_next_launch();
  wait_for_previous();
  const int64_t row = slice_of_thread();
  if (row >= p.rows) return;
  each_unit(p.first[p.count] - p.first[0], [&](int64_t unit) {
    const int64_t at = p.first[0] + unit;
    int i = 0;
    while (at >= p.first[i + 1]) ++i;
    auto *part = static_cast<Unit *>(p.part[i]);
    if (!part) return;
    Unit &in_part = part[row * (p.first[i + 1] - p.first[i]) + at - p.first[i]];
    Unit &in_whole = static_cast<Unit *>(p.whole)[row * p.width + at];
    if (split) in_part = in_whole;
    if (!split) in_whole = in_part;
  });
}

// Moves the parts of a tensor along an axis; all of them are counted, absent ones as well.
template <bool split>
int move(const IngotTensor &whole, const IngotTensor *parts, int32_t count, int64_t axis, const int64_t *sizes,
         IngotCtx *ctx) {
  const Axis of(whole, axis);
  const int64_t bytes = of.inner * bytes_of_type(whole.dtype);  // of one place of the axis
  int64_t common = of.size * bytes, begin = 0;
  for (int32_t i = 0; i < count; ++i) common = std::gcd(common, sizes[i] * bytes);
  int status = 0;
  with_unit(common, [&](auto unit) {
    using Unit = decltype(unit);
    for (int32_t next = 0; next < count && !status;) {
      Parts p{};
      p.whole = whole.data;
      p.rows = of.outer;
      p.width = of.size * bytes / static_cast<int64_t>(sizeof(Unit));
      p.first[0] = begin;
      for (; next < count && p.count < most_parts; ++next) {
        p.part[p.count++] = parts[next].dtype ? parts[next].data : nullptr;
        p.first[p.count] = begin += sizes[next] * bytes / static_cast<int64_t>(sizeof(Unit));
      }
      const Grid grid = slice_grid(p.rows, p.first[p.count] - p.first[0]);
      status = launch(ctx, split ? "split" : "concat", grid, move_parts<Unit, split>, p);
    }
  });
  return status;
}

constexpr int32_t most = 1024;  // parts of a node

struct Split {
  int64_t axis;

  explicit Split(const NodeView &node) : axis(node.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const int64_t size = Axis(call.in[0], axis).size, even = (size + call.n_out - 1) / call.n_out;
    int64_t sizes[most], left = size;
    for (int32_t i = 0; i < call.n_out; ++i) {
      const auto *given = is_there(call, 1) ? static_cast<const int64_t *>(call.in[1].data) : nullptr;
      sizes[i] = given ? given[i] : std::min(even, left);
      left -= sizes[i];
    }
    return move<true>(call.in[0], call.out, call.n_out, axis, sizes, ctx);
  }
};

struct Concat {
  int64_t axis;

  explicit Concat(const NodeView &node) : axis(node.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    int64_t sizes[most];
    for (int32_t i = 0; i < call.n_in; ++i) sizes[i] = Axis(call.in[i], axis).size;
    return move<false>(call.out[0], call.in, call.n_in, axis, sizes, ctx);
  }
};

int supports(const IngotNode *node, const IngotCtx *ctx, char *why, size_t n) {
  const int32_t parts = std::max(ctx->host->input_count(node), ctx->host->output_count(node));
  if (parts <= most) return 1;
  snprintf(why, n, "%d parts are more than %d", parts, most);
  return 0;
}

constexpr IngotKernel split[] = {kernel_of<Split>("parts", supports)};
constexpr IngotKernel concat[] = {kernel_of<Concat>("parts", supports)};

constexpr IngotOpKernels sets[] = {{"", "Split", split, 1}, {"", "Concat", concat, 1}};

}  // namespace

std::span<const IngotOpKernels> part_kernels() { return sets; }

}  // namespace ingot
