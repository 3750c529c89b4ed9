#include "ops/cpu/grouped_rows.h"
#include "ops/cpu/portable_lanes.h"

namespace ingot {

GroupedKernel grouped_portable() { return float_grouped_kernel<PortableLanes>(); }

}  // namespace ingot
