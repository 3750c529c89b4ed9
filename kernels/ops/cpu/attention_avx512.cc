#include "ops/cpu/attention.h"
#include "ops/cpu/attention_units.h"
#include "ops/cpu/avx512_lanes.h"

namespace ingot {

AttentionKernel attention_avx512() { return attend_units<Avx512Lanes>; }

}  // namespace ingot
