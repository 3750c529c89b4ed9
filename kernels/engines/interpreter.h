// The engine "cpu": runs plan.txt op by op with kernels chosen when it is opened.
//
// Opening checks everything once: names, types, shapes in words, weights, memory. A step binds T, S, N, Q and calls the
// kernels in order, without allocating, looking up or comparing a name.
#pragma once
#include "ingot_engine.h"

namespace ingot {

const IngotEngineApi *cpu_engine();
// The same on a GPU: its context has an accelerator.
const IngotEngineApi *cuda_engine();

}  // namespace ingot
