#include "ops/cpu/avx2_lanes.h"
#include "ops/cpu/grouped_rows.h"

namespace ingot {

GroupedKernel grouped_avx2() { return float_grouped_kernel<Avx2Lanes>(); }

}  // namespace ingot
