#include "ops/cpu/attention.h"
#include "ops/cpu/attention_units.h"
#include "ops/cpu/portable_lanes.h"

namespace ingot {

AttentionKernel attention_portable() { return attend_units<PortableLanes>; }

}  // namespace ingot
