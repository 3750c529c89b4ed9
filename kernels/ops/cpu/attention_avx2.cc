#include "ops/cpu/attention.h"

#include "ops/cpu/avx2_lanes.h"
#include "ops/cpu/attention_units.h"

namespace ingot {

AttentionKernel attention_avx2() { return attend_units<Avx2Lanes>; }

}  // namespace ingot
