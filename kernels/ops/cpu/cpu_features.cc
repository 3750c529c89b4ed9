#include "ops/cpu/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ingot {
#if defined(__x86_64__)
namespace {

// clang before 18 has no word for it.
bool has_f16c() {
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

}  // namespace
#endif

CpuFeatures cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  features.avx512 = features.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  features.avx512_bf16 =
      features.avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
#endif
  return features;
}

bool cpu_has(Instructions instructions) {
  const CpuFeatures features = cpu_features();
  switch (instructions) {
    case Instructions::avx512:
      return features.avx512;
    case Instructions::avx2:
      return features.avx2;
    default:
      return true;
  }
}

}  // namespace ingot
