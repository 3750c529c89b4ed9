#include "ops/cpu/avx512_lanes.h"
#include "ops/cpu/grouped_rows.h"

namespace ingot {

GroupedKernel grouped_avx512() { return float_grouped_kernel<Avx512Lanes>(); }

}  // namespace ingot
