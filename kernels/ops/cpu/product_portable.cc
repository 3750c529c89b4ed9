#include "ops/cpu/portable_lanes.h"
#include "ops/cpu/product.h"
#include "ops/cpu/product_rows.h"

namespace ingot {

ProductKernel product_portable() {
  return {INGOT_F32, PortableLanes::tile_tokens, float_convert<PortableLanes>, float_rows<PortableLanes>};
}

}  // namespace ingot
