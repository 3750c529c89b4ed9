// Which instruction sets this CPU and its operating system offer.
#pragma once

namespace ingot {

struct CpuFeatures {
  bool avx2 = false;         // AVX2, FMA, F16C
  bool avx512 = false;       // and AVX-512 F, BW, VL, DQ
  bool avx512_bf16 = false;  // and AVX-512 BF16, VBMI
};

CpuFeatures cpu_features();

// What a kernel by that name is compiled for.
enum class Instructions { portable, avx2, avx512 };
bool cpu_has(Instructions);

}  // namespace ingot
