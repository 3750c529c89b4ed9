#include "ops/cpu/attention.h"
#include "ops/cpu/attention_units.h"
#include "ops/cpu/avx2_lanes.h"

namespace ingot {

AttentionKernel attention_avx2() { return attend_units<Avx2Lanes>; }

}  // namespace ingot
