// Gather. An index outside of data gives zeros, where the definition refuses; none reads outside.
#include "ops/cuda/elements.h"
#include "ops/cuda/kernel_of.h"
#include "ops/cuda/slices.h"
#include "ops/cuda/table.h"

namespace ingot {
namespace {

struct Gathering {
  const void *data, *indices;
  void *output;
  int64_t slices, count, size;  // of the output; indices; places of the axis
  int64_t units;                // of a slice
  int32_t index_dtype;
};

template <class Unit>
__global__ void __launch_bounds__(slice_threads) gather(const Gathering p) {
  let_next_launch();
  wait_for_previous();
  const int64_t slice = slice_of_thread();
  if (slice >= p.slices) return;
  int64_t index = integer_at(p.indices, p.index_dtype, slice % p.count);
  if (index < 0) index += p.size;
  const bool inside = index >= 0 && index < p.size;
  const Unit *from = static_cast<const Unit *>(p.data) + (slice / p.count * p.size + (inside ? index : 0)) * p.units;
  Unit *to = static_cast<Unit *>(p.output) + slice * p.units;
  each_unit(p.units, [&](int64_t unit) { to[unit] = inside ? from[unit] : Unit{}; });
}

struct Gather {
  int64_t axis;

  explicit Gather(const NodeView &node) : axis(node.integer("axis")) {}

  int run(const IngotCall &call, IngotCtx *ctx) const {
    const IngotTensor &data = call.in[0], &indices = call.in[1];
    const Axis sizes(data, axis);
    Gathering p{};
    p.data = data.data;
    p.indices = indices.data;
    p.output = call.out[0].data;
    p.count = count_of(indices);
    p.slices = sizes.outer * p.count;
    p.size = sizes.size;
    p.index_dtype = indices.dtype;
    const int64_t bytes = sizes.inner * bytes_of_type(data.dtype);
    int status = 0;
    with_unit(bytes, [&](auto unit) {
      p.units = bytes / static_cast<int64_t>(sizeof unit);
      status = launch(ctx, "gather", slice_grid(p.slices, p.units), gather<decltype(unit)>, p);
    });
    return status;
  }
};

constexpr IngotKernel kernels[] = {kernel_of<Gather>("gather")};
constexpr IngotOpKernels sets[] = {{"", "Gather", kernels, 1}};

}  // namespace

std::span<const IngotOpKernels> gather_kernels() { return sets; }

}  // namespace ingot
