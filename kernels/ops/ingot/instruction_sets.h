// One loop compiled for several instruction sets: the same source, and without contraction of products and sums the
// same results, bit for bit.
#pragma once
#include <cstdint>
#include <cstdio>

#include "ingot_op.h"
#include "ops/cpu/cpu_features.h"

namespace ingot {

using Part = void (*)(void *arg, int64_t begin, int64_t end);  // what IngotHost.parallel_for calls

#if defined(__x86_64__)

// "flatten": what the part calls is compiled for these instructions too, here and nowhere else.
template <Part part>
[[gnu::target("avx2"), gnu::flatten]] void for_avx2(void *arg, int64_t begin, int64_t end) {
  part(arg, begin, end);
}

template <Part part>
[[gnu::target("avx512f,avx512bw,avx512vl,avx512dq"), gnu::flatten]] void for_avx512(void *arg, int64_t begin,
                                                                                    int64_t end) {
  part(arg, begin, end);
}

#endif

template <Instructions set, Part part>
constexpr Part compiled_for() {
#if defined(__x86_64__)
  if constexpr (set == Instructions::avx512) return for_avx512<part>;
  if constexpr (set == Instructions::avx2) return for_avx2<part>;
#endif
  return part;
}

template <Instructions set>
int supports_instructions(const IngotNode *, const IngotCtx *, char *why, size_t n) {
  if (cpu_has(set)) return 1;
  snprintf(why, n, "this CPU does not have the instructions");
  return 0;
}

}  // namespace ingot
