#include <vector>

#include "ops/rows.h"
#include "ops/standard/families.h"

namespace ingot {

std::span<const IngotOp> standard_rows() {
  using namespace standard;
  static const std::vector<IngotOp> rows = [] {
    std::vector<IngotOp> all;
    for (const auto family :
         {unary_rows,          binary_rows,    extreme_rows, comparison_rows, cast_rows,
          reshape_rows,        transpose_rows, slice_rows,   concat_rows,     gather_rows,
          standard::norm_rows, reduce_rows,    softmax_rows, product_rows,    standard::quantize_rows,
          topk_rows,           pad_rows,       shape_rows,   cumsum_rows,     trilu_rows,
          one_hot_rows,        scatter_rows,   rotary_rows,  attention_rows}) {
      const auto of_family = family();
      all.insert(all.end(), of_family.begin(), of_family.end());
    }
    return all;
  }();
  return rows;
}

}  // namespace ingot
