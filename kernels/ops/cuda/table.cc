#include "ops/cuda/table.h"

#include <vector>

namespace ingot {

// A new family: declare `std::span<const IngotOpKernels> NAME_kernels();` in table.h, and name it here.
std::span<const IngotOpKernels> cuda_kernels() {
  static const std::vector<IngotOpKernels> all = [] {
    std::vector<IngotOpKernels> sets;
    const std::vector<std::span<const IngotOpKernels>> families = {norm_kernels(),
                                                                   layer_norm_kernels(),
                                                                   quantize_kernels(),
                                                                   gate_kernels(),
                                                                   rotate_kernels(),
                                                                   gather_kernels(),
                                                                   part_kernels(),
                                                                   copy_kernels(),
                                                                   cast_kernels(),
                                                                   elementwise_kernels(),
                                                                   quantize_linear_kernels(),
                                                                   product_kernels(),
                                                                   attention_tile_kernels(),
                                                                   attention_row_kernels(),
                                                                   flash_attention_kernels()};
    for (const std::span<const IngotOpKernels> family : families) sets.insert(sets.end(), family.begin(), family.end());
    return sets;
  }();
  return all;
}

}  // namespace ingot
