// Which GPUs of this machine the library can use.
#pragma once
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

namespace ingot::cuda {

// The GPUs, as the CUDA runtime counts them. None: `why` says what is missing and what to do.
std::vector<int> usable(std::string *why);

// Whether code for `built` ("80-real,90a-real,90-virtual", as CMAKE_CUDA_ARCHITECTURES with commas) runs on a GPU of
// compute capability major.minor.
bool runs_on(const std::string &built, int major, int minor);

}  // namespace ingot::cuda
