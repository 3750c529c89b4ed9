// Where the library cuBLASLt is.
#pragma once
#include <string>

namespace ingot {

// Opens libcublasLt.so.13 or .12, the first of: the one that is loaded already (torch's); the folders of
// INGOT_CUDA_LIBRARIES, separated by colons; what the system's loader finds; CUDA_HOME, /usr/local/cuda. NULL: none;
// `why` says where it was looked for.
void *open_cublaslt_library(std::string *path, std::string *why);

}  // namespace ingot
