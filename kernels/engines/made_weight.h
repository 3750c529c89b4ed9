// A weight that plan.txt describes instead of a file holding its bytes: how its line is read, and how it is made. The
// words: core/made_weight.py. Devices make the same bytes by random and random_codes of ingot_device.h.
#pragma once
#include <cstdint>
#include <span>

#include "engines/plan.h"
#include "engines/plan_line.h"

namespace ingot {

// The words of a weight's line from the fifth on. Refuses what does not give a tensor of that type and those
// dimensions.
MadeWeight read_made_weight(const PlanLine &line, int32_t dtype, std::span<const LinearForm> dims);

// The same numbers on the host, written to `to`: a slow way for tests and engines without a device.
void make_weight(const MadeWeight &weight, int32_t dtype, void *to);

}  // namespace ingot
