#include "ops/cpu/avx2_lanes.h"
#include "ops/cpu/product.h"
#include "ops/cpu/product_rows.h"

namespace ingot {

ProductKernel product_avx2() {
  return {INGOT_F32, Avx2Lanes::tile_tokens, float_convert<Avx2Lanes>, float_rows<Avx2Lanes>};
}

}  // namespace ingot
