# The CUDA half: libingot_cuda, which libingot opens at run time where it lies beside it. It needs nvcc 12.8 or newer to build and
# nothing but a driver to run: the CUDA runtime is linked in, cuBLASLt is looked for when an engine is opened.
#   cmake -DINGOT_CUDA=ON -DINGOT_CUDA_ARCHITECTURES=90a-real …     for one kind of GPU; for several, separate them by semicolons
# The environment variable INGOT_CUDA_ARCHITECTURES says the same, and counts first: for pip install . and CI.
set(explained "GPUs that the CUDA half is built for, as CMAKE_CUDA_ARCHITECTURES")
set(INGOT_CUDA_ARCHITECTURES "80-real;89-real;90a-real" CACHE STRING "${explained}")
if(NOT "$ENV{INGOT_CUDA_ARCHITECTURES}" STREQUAL "")
  set(INGOT_CUDA_ARCHITECTURES "$ENV{INGOT_CUDA_ARCHITECTURES}" CACHE STRING "${explained}" FORCE)
endif()

string(TOUPPER "${INGOT_CUDA}" wanted)
if(NOT wanted MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "INGOT_CUDA=${INGOT_CUDA}: say ON, OFF or AUTO")
endif()
if(wanted STREQUAL "AUTO" AND (INGOT_TESTS OR INGOT_FUZZ OR INGOT_SANITIZE))
  set(wanted OFF)  # the tests run on the CPU
endif()
if(wanted STREQUAL "OFF")
  message(STATUS "CUDA half: not built (INGOT_CUDA=${INGOT_CUDA})")
  return()
endif()

include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE)  # what was not there may be there now
endif()
if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")  # check_language looks at PATH only
  find_program(INGOT_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(INGOT_NVCC)
    set(ENV{CUDACXX} "${INGOT_NVCC}")
  endif()
endif()
set(CMAKE_CUDA_ARCHITECTURES "${INGOT_CUDA_ARCHITECTURES}")
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(wanted STREQUAL "ON")
    message(FATAL_ERROR "INGOT_CUDA=ON: no nvcc that works was found; put CUDA 12.8 or newer on PATH, or set CUDACXX to its nvcc")
  endif()
  message(STATUS "CUDA half: not built, no nvcc that works was found; put CUDA 12.8 or newer on PATH to build it")
  return()
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  if(wanted STREQUAL "ON")
    message(FATAL_ERROR "INGOT_CUDA=ON: ${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}; it takes CUDA 12.8 or newer")
  endif()
  message(STATUS "CUDA half: not built, ${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}; it takes CUDA 12.8 or newer")
  return()
endif()
message(STATUS "CUDA half: built by ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION} for ${INGOT_CUDA_ARCHITECTURES}")

if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not find it out
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.cu cuda/*.cc ops/cuda/*.cu ops/cuda/*.cc)
add_library(ingot_cuda SHARED ${cuda_sources})
target_include_directories(ingot_cuda PRIVATE include ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_compile_options(ingot_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xcompiler=-Wall;-Wno-deprecated-gpu-targets>")
string(REPLACE ";" "," built_for "${INGOT_CUDA_ARCHITECTURES}")
set_property(SOURCE cuda/usable.cc APPEND PROPERTY COMPILE_DEFINITIONS "INGOT_CUDA_BUILT_FOR=\"${built_for}\"")
target_link_libraries(ingot_cuda PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
# What the CUDA runtime and templates would export stays inside, beside others that the process may hold.
set(exports ${CMAKE_CURRENT_SOURCE_DIR}/cuda/exports.map)
target_link_options(ingot_cuda PRIVATE -Wl,--version-script=${exports} -Wl,--no-undefined)
set_property(TARGET ingot_cuda PROPERTY LINK_DEPENDS ${exports})
set_target_properties(ingot_cuda PROPERTIES
  NO_SONAME ON CUDA_RUNTIME_LIBRARY Static CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_VISIBILITY_PRESET hidden)
install(TARGETS ingot_cuda LIBRARY DESTINATION core/_native)
