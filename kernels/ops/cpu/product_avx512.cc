#include "ops/cpu/avx512_lanes.h"
#include "ops/cpu/product.h"
#include "ops/cpu/product_rows.h"

namespace ingot {

ProductKernel product_avx512() {
  return {INGOT_F32, Avx512Lanes::tile_tokens, float_convert<Avx512Lanes>, float_rows<Avx512Lanes>};
}

}  // namespace ingot
